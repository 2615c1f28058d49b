/* Attention inside segments in float32, a whole row at once: each block of queries and key head is one thread's task.

   Built by build.py, with rows.c, which it reads. The products are those of the library that torch brings (sgemm_, columns
   first), which stays on one thread inside a parallel region. Queries lie by block, keys and values as [key heads, T, D].
   A block is five numbers: its queries [start, stop), its own keys [first, stop), and the keys [before, after) in front of
   them. Scores are laid out as [rows, keys], where the rows are the queries of the heads that share a key head. */
#include "rows.c"

#include <omp.h>

typedef void (*sgemm)(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                      const int *, const float *, const int *, const float *, float *, const int *);

/* out [m, n] = scale out + left right, rows first; `l` and `r` say which of them is given turned ('T') */
static void multiply(sgemm product, char l, char r, int m, int n, int k, const float *left, int left_width,
                     const float *right, int right_width, float scale, float *out, int width) {
    static const float one = 1.0f;
    if (k > 0 && n > 0) product(&r, &l, &n, &m, &k, &one, right, &right_width, left, &left_width, &scale, out, &width);
}

typedef struct {
    sgemm product;
    const float *query, *key, *value;
    long tokens, heads, keys, width, window;
    float scale;
} attention;

typedef struct {
    long queries, rows, early, own, at; /* `at`: where its rows of queries begin */
    const float *key_early, *key_own, *value_early, *value_own;
} piece;

static piece cut(const attention *all, const int32_t *block, long head) {
    long queries = block[1] - block[0], shared = all->heads / all->keys, plane = head * all->tokens;
    return (piece){.queries = queries,
                   .rows = shared * queries,
                   .early = block[4] - block[3],
                   .own = block[1] - block[2],
                   .at = block[0] * all->heads + head * shared * queries,
                   .key_early = all->key + (plane + block[3]) * all->width,
                   .key_own = all->key + (plane + block[2]) * all->width,
                   .value_early = all->value + (plane + block[3]) * all->width,
                   .value_own = all->value + (plane + block[2]) * all->width};
}

/* out [rows, keys] = left [rows, D] times the early and the own rows, turned */
static void across(const attention *all, const piece *p, const float *left, const float *early, const float *own,
                   float *out) {
    int width = (int)all->width, keys = (int)(p->early + p->own), rows = (int)p->rows;
    multiply(all->product, 'N', 'T', rows, (int)p->early, width, left, width, early, width, 0.0f, out, keys);
    multiply(all->product, 'N', 'T', rows, (int)p->own, width, left, width, own, width, 0.0f, out + p->early, keys);
}

/* out [rows, D] = left [rows, keys] times the early and the own rows */
static void along(const attention *all, const piece *p, const float *left, const float *early, const float *own,
                  float *out) {
    int width = (int)all->width, keys = (int)(p->early + p->own), rows = (int)p->rows;
    multiply(all->product, 'N', 'N', rows, width, (int)p->early, left, keys, early, width, 0.0f, out, width);
    multiply(all->product, 'N', 'N', rows, width, (int)p->own, left + p->early, keys, own, width,
             p->early ? 1.0f : 0.0f, out, width);
}

static void weights_of(const attention *all, const piece *p, const int32_t *block, float *weights) {
    long keys = p->early + p->own, offset = p->early + block[0] - block[2];
    across(all, p, all->query + p->at * all->width, p->key_early, p->key_own, weights);
    for (long r = 0; r < p->rows; r++)
        weigh_row_float32(weights + r * keys, offset + r % p->queries + 1, keys, all->window, all->scale);
}

/* → attended [heads * T, D] by block; `room`: for each thread `space` numbers */
void attend_float32(sgemm product, const float *query, const float *key, const float *value, const int32_t *blocks,
                    float *attended, float *room, long space, long count, long tokens, long heads, long keys,
                    long width, long window, float scale, int threads) {
    attention all = {product, query, key, value, tokens, heads, keys, width, window, scale};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (long task = 0; task < count * keys; task++) {
        const int32_t *block = blocks + task / keys * 5;
        piece p = cut(&all, block, task % keys);
        float *weights = room + omp_get_thread_num() * space;
        weights_of(&all, &p, block, weights);
        along(&all, &p, weights, p.value_early, p.value_own, attended + p.at * width);
    }
}

/* One block's share of the slopes: at its queries (filled) and at the keys and values it sees (added) */
static void block_backward(const attention *all, const piece *p, const int32_t *block, const float *down,
                           const float *dots, float *at_query, float *at_key, float *at_value, float *room) {
    int width = (int)all->width, keys = (int)(p->early + p->own), rows = (int)p->rows;
    float *weights = room, *toward = room + p->rows * keys;
    weights_of(all, p, block, weights);
    across(all, p, down, p->value_early, p->value_own, toward);
    for (long r = 0; r < p->rows; r++)
        unweigh_row_float32(toward + r * keys, weights + r * keys, dots[r], keys, all->scale);
    along(all, p, toward, p->key_early, p->key_own, at_query);
    multiply(all->product, 'T', 'N', keys, width, rows, toward, keys, all->query + p->at * width, width, 1.0f, at_key,
             width);
    multiply(all->product, 'T', 'N', keys, width, rows, weights, keys, down, width, 1.0f, at_value, width);
}

/* The way back of `attend`. A lane is some blocks of one segment, one thread's task for a key head; six numbers: its
   blocks [begin, end) in `blocks`, the own keys [first, stop) that they see, and [before, after). It adds up what it has
   to say to keys and values in `shares` by itself, the early ones first; then these are added lane after lane, so that
   sums do not depend on which thread was when. `starts` [lanes + 1]: the rows of `shares` before those of a lane; one key
   head's keys, its values, then the next head. `down` and `dots` lie by block, as the queries do. */
void attend_backward_float32(sgemm product, const float *query, const float *key, const float *value,
                             const int32_t *blocks, const int32_t *lanes, const int64_t *starts, const float *down,
                             const float *dots, float *at_query, float *at_key, float *at_value, float *shares,
                             float *room, long space, long count, long tokens, long heads, long keys, long width,
                             long window, float scale, int threads) {
    attention all = {product, query, key, value, tokens, heads, keys, width, window, scale};
    long plane = starts[count] * width;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (long task = 0; task < count * keys; task++) {
        const int32_t *lane = lanes + task / keys * 6;
        long head = task % keys, start = starts[task / keys], rows = starts[task / keys + 1] - start;
        float *own_room = room + omp_get_thread_num() * space;
        float *to_key = shares + 2 * head * plane + start * width, *to_value = to_key + plane;
        memset(to_key, 0, sizeof(float) * rows * width);
        memset(to_value, 0, sizeof(float) * rows * width);
        for (long b = lane[0]; b < lane[1]; b++) {
            const int32_t *block = blocks + b * 5;
            piece p = cut(&all, block, head);
            long skipped = (block[2] - lane[2]) * width; /* only where there is a window, and then nothing is early */
            block_backward(&all, &p, block, down + p.at * width, dots + p.at, at_query + p.at * width,
                           to_key + skipped, to_value + skipped, own_room);
        }
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long task = 0; task < 2 * keys; task++) {
        float *total = (task % 2 ? at_value : at_key) + task / 2 * tokens * width;
        const float *from = shares + task * plane;
        memset(total, 0, sizeof(float) * tokens * width);
        for (long l = 0; l < count; l++) {
            const int32_t *lane = lanes + l * 6;
            const float *row = from + starts[l] * width;
            long early = (lane[5] - lane[4]) * width, own = (lane[3] - lane[2]) * width;
            float *to_early = total + lane[4] * width, *to_own = total + lane[2] * width;
            LANES for (long i = 0; i < early; i++) to_early[i] += row[i];
            LANES for (long i = 0; i < own; i++) to_own[i] += row[early + i];
        }
    }
}
