/* What stands between the products of a step of many requests: a token's heads are turned and kept, and attend to a slot.

   Part of step.c, in float32. What ends in `_inside` is run by all threads of a team that is already at work, which share
   its rows out. A buffer is [slots, columns, 2 keys, D]: for each token its keys, then its values. T
   tokens, D the width of a head; sine has the sign of its half (minus, then plus). */
#include "numbers.h"

#include <omp.h>
#include <stddef.h>

/* one head: its RMS norm where there is a weight, then its turn */
static inline void settle_head(const float *from, float *to, const float *weight, float epsilon, const float *cosine,
                               const float *sine, long width) {
    float kept[width], squares = 0.0f, scale = 1.0f;
    long half = width / 2;
    if (weight != NULL) {
#pragma omp simd reduction(+ : squares)
        for (long i = 0; i < width; i++) squares += from[i] * from[i];
        scale = 1.0f / sqrtf(squares / (float)width + epsilon);
        LANES for (long i = 0; i < width; i++) kept[i] = from[i] * scale * weight[i];
        from = kept;
    }
    LANES for (long i = 0; i < half; i++) {
        float left = from[i], right = from[half + i];
        to[i] = left * cosine[i] + right * sine[i];
        to[half + i] = right * cosine[half + i] + left * sine[half + i];
    }
}

/* fused [T, (heads + 2 keys) D] → query [T, heads, D], turned by position (cosine, sine [T, D]); keys, turned, and values
   go into the buffer, at `places` [T] (slot times columns plus column). The norms of a head may be NULL */
static void settle_inside(const float *fused, const float *cosine, const float *sine, const float *query_norm,
                          const float *key_norm, const int64_t *places, float *query, float *buffer, long tokens,
                          long heads, long keys, long width, float query_epsilon, float key_epsilon) {
    INSIDE for (long t = 0; t < tokens; t++) {
        const float *row = fused + t * (heads + 2 * keys) * width, *c = cosine + t * width, *s = sine + t * width;
        float *kept = buffer + places[t] * 2 * keys * width;
        for (long h = 0; h < heads; h++, row += width)
            settle_head(row, query + (t * heads + h) * width, query_norm, query_epsilon, c, s, width);
        for (long h = 0; h < keys; h++, row += width)
            settle_head(row, kept + h * width, key_norm, key_epsilon, c, s, width);
        memcpy(kept + keys * width, row, sizeof *row * (size_t)(keys * width));
    }
}

void settle_float32(const float *fused, const float *cosine, const float *sine, const float *query_norm,
                    const float *key_norm, const int64_t *places, float *query, float *buffer, long tokens, long heads,
                    long keys, long width, float query_epsilon, float key_epsilon, int threads) {
    TEAM settle_inside(fused, cosine, sine, query_norm, key_norm, places, query, buffer, tokens, heads, keys, width,
                       query_epsilon, key_epsilon);
}

typedef struct {
    const float *key, *value; /* of the first column that is seen */
    long count, step, width;  /* columns, how far one is from the next, D */
    float scale;
} seen;

static void attend_head(const seen *all, const float *query, float *scores, float *out) {
    float most = -INFINITY, total = 0.0f;
    for (long c = 0; c < all->count; c++) {
        const float *key = all->key + c * all->step;
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (long i = 0; i < all->width; i++) dot += query[i] * key[i];
        scores[c] = dot * all->scale;
        most = scores[c] > most ? scores[c] : most;
    }
#pragma omp simd reduction(+ : total)
    for (long c = 0; c < all->count; c++) total += scores[c] = exponential(scores[c] - most);
    total = 1.0f / total;
    LANES for (long i = 0; i < all->width; i++) out[i] = 0.0f;
    for (long c = 0; c < all->count; c++) {
        const float *value = all->value + c * all->step;
        float share = scores[c] * total;
        LANES for (long i = 0; i < all->width; i++) out[i] += share * value[i];
    }
}

/* query [T, heads, D], each in a slot of its own → out [T, heads, D], attended over the last `window` of its first
   `ends` [T] columns; `scores` has room for `columns` numbers of each thread */
static void attend_inside(const float *query, const float *buffer, const int64_t *slots, const int64_t *ends,
                          float *scores, float *out, long tokens, long heads, long keys, long width, long columns,
                          long window, float scale) {
    long shared = heads / keys, step = 2 * keys * width, some = tokens * keys < 2 * omp_get_num_threads() ? 1 : shared;
#pragma omp for schedule(dynamic, some)
    for (long task = 0; task < tokens * heads; task++) {
        long t = task / heads, first = ends[t] > window ? ends[t] - window : 0;
        const float *key = buffer + (slots[t] * columns + first) * step + task % heads / shared * width;
        seen all = {key, key + keys * width, ends[t] - first, step, width, scale};
        attend_head(&all, query + task * width, scores + omp_get_thread_num() * columns, out + task * width);
    }
}

void attend_slots_float32(const float *query, const float *buffer, const int64_t *slots, const int64_t *ends,
                          float *scores, float *out, long tokens, long heads, long keys, long width, long columns,
                          long window, float scale, int threads) {
    TEAM attend_inside(query, buffer, slots, ends, scores, out, tokens, heads, keys, width, columns, window, scale);
}
