/* All blocks of a step of many requests in one call, in float32: one team of threads, nothing between its products.

   Built by build.py, with decode.c and rows.c, which it reads; its products are those of panels.c. T tokens, H hidden, D
   the width of a head, I of the gate; what an adapter adds has R columns. The structures are those of step.py. */
#include "decode.c"

#undef ROWS
#define ROWS INSIDE
#define KIND float32
#define FN(name) name##_inside
#define NUMBER float
#define WIDE same
#define NARROW same
#include "rows.c"

void multiply_inside(const float *states, const void *panels, const float *bias, float *out, long rows, long inputs,
                     long outputs, int half, int add);

typedef struct {
    const void *panels;
    const float *bias; /* or NULL */
    long inputs, outputs, half;
} weight;

/* adapters at a product, side by side: down [R, inputs], up [R, outputs]; adapter a has the columns [bounds[a],
   bounds[a + 1]). `down` may be NULL */
typedef struct {
    const float *down, *up;
    const int32_t *bounds;
} added;

typedef struct {
    const float *before_attention, *before_mlp, *query_norm, *key_norm; /* the last two may be NULL */
    weight products[4];                                                 /* entrance, exit, gate and up, down */
    long window;
    float epsilons[4], scale; /* of the norms, in their order; of the scores */
} block;

typedef struct {
    const added *more;     /* NULL where no token has an adapter */
    const int64_t *owners; /* [T]: which adapter, -1 for none */
    float *narrow;         /* [T, room] */
    long tokens, room;
} adapters;

enum { PARTS = 4 }; /* of a token's columns, then of its outputs, so that a single token has work for several threads */

static void narrow_inside(const adapters *all, const added *one, const float *from, long inputs) {
#pragma omp for schedule(static) nowait
    for (long task = 0; task < all->tokens * PARTS; task++) {
        long t = task / PARTS, part = task % PARTS, owner = all->owners[t];
        if (owner < 0) continue;
        long first = one->bounds[owner], count = one->bounds[owner + 1] - first;
        for (long c = count * part / PARTS; c < count * (part + 1) / PARTS; c++) {
            const float *down = one->down + (first + c) * inputs, *row = from + t * inputs;
            float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
            for (long i = 0; i < inputs; i++) dot += down[i] * row[i];
            all->narrow[t * all->room + c] = dot;
        }
    }
}

static void widen_inside(const adapters *all, const added *one, float *to, long outputs) {
    INSIDE for (long task = 0; task < all->tokens * PARTS; task++) {
        long t = task / PARTS, part = task % PARTS, owner = all->owners[t];
        if (owner < 0) continue;
        long first = one->bounds[owner], count = one->bounds[owner + 1] - first;
        for (long c = 0; c < count; c++) {
            const float *up = one->up + (first + c) * outputs;
            float *row = to + t * outputs, share = all->narrow[t * all->room + c];
            LANES for (long o = outputs * part / PARTS; o < outputs * (part + 1) / PARTS; o++) row[o] += share * up[o];
        }
    }
}

/* from [T, inputs] through a product and what each token's adapter adds to it → to [T, outputs] */
static void through(const weight *w, const adapters *all, long place, const float *from, float *to, int add) {
    const added *one = all->more ? all->more + place : NULL;
    if (one && one->down) narrow_inside(all, one, from, w->inputs);
    multiply_inside(from, w->panels, w->bias, to, all->tokens, w->inputs, w->outputs, (int)w->half, add);
    if (one && one->down) widen_inside(all, one, to, w->outputs);
}

/* in place: states [T, H] through all blocks. `places`, `slots`, `ends` [T] as in decode.c; `room` has T times (H +
   (3 heads + 2 keys) D + 3 I + `narrow`, the columns of the widest adapter) numbers, `scores` the columns of a slot for each thread */
void blocks_float32(const block *blocks, float *const *buffers, const added *more, const int64_t *owners,
                    const float *cosine, const float *sine, const int64_t *places, const int64_t *slots,
                    const int64_t *ends, float *states, float *room, float *scores, long count, long tokens,
                    long hidden, long heads, long keys, long width, long inner, long columns, long narrow,
                    int threads) {
    float *calm = room, *fused = calm + tokens * hidden, *query = fused + tokens * (heads + 2 * keys) * width;
    float *attended = query + tokens * heads * width, *both = attended + tokens * heads * width;
    float *gated = both + tokens * 2 * inner;
    adapters all = {more, owners, gated + tokens * inner, tokens, narrow};
    TEAM for (long b = 0; b < count; b++) {
        const block *one = blocks + b;
        const weight *products = one->products;
        norm_inside(states, one->before_attention, calm, tokens, hidden, one->epsilons[0], 0);
        through(products, &all, 4 * b, calm, fused, 0);
        settle_inside(fused, cosine, sine, one->query_norm, one->key_norm, places, query, buffers[b], tokens, heads, keys,
                      width, one->epsilons[2], one->epsilons[3]);
        attend_inside(query, buffers[b], slots, ends, scores, attended, tokens, heads, keys, width, columns, one->window,
                      one->scale);
        through(products + 1, &all, 4 * b + 1, attended, states, 1);
        norm_inside(states, one->before_mlp, calm, tokens, hidden, one->epsilons[1], 0);
        through(products + 2, &all, 4 * b + 2, calm, both, 0);
        gate_inside(both, gated, tokens, inner, 0);
        through(products + 3, &all, 4 * b + 3, gated, states, 1);
    }
}
