/* The functions between the matrix products of a block and of the loss, each in one pass over its rows.

   Built by build.py with the machine's own compiler. Compiled twice from this one text: KIND is float, then bfloat16
   (held as 16 bits, computed in float). All arrays are dense. T tokens, H hidden, D the width of a head. Queries lie
   "by block": for the block of tokens [begin, begin + count) as [heads, count, D], blocks one after another. */
#ifndef KIND

#include "numbers.h"

#define NAME_(name, kind) name##_##kind
#define NAMED(name, kind) NAME_(name, kind)
#define FN(name) NAMED(name, KIND)

#define KIND float32
#define NUMBER float
#define WIDE same
#define NARROW same
#include "rows.c"
#undef KIND
#undef NUMBER
#undef WIDE
#undef NARROW
#define KIND bfloat16
#define NUMBER uint16_t
#define WIDE widen_half
#define NARROW narrow_half
#include "rows.c"

#else

static inline float FN(inverse)(const NUMBER *row, long width, float epsilon) {
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (long i = 0; i < width; i++) squares += WIDE(row[i]) * WIDE(row[i]);
    return 1.0f / sqrtf(squares / (float)width + epsilon);
}

/* RMS norm: out [T, H] = states times their inverse root mean square (rounded) times weight [H] */
void FN(norm)(const NUMBER *states, const NUMBER *weight, NUMBER *out, long tokens, long width, float epsilon,
              int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        const NUMBER *row = states + t * width;
        NUMBER *to = out + t * width;
        float scale = FN(inverse)(row, width, epsilon);
        LANES for (long i = 0; i < width; i++)
            to[i] = NARROW(WIDE(NARROW(WIDE(row[i]) * scale)) * WIDE(weight[i]));
    }
}

/* out [T, H] = the slope at the states, from that at their norm, plus `past`, the slope that goes round the norm */
void FN(norm_backward)(const NUMBER *slope, const NUMBER *states, const NUMBER *weight, const NUMBER *past, NUMBER *out,
                       long tokens, long width, float epsilon, int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        const NUMBER *row = states + t * width, *down = slope + t * width, *round = past + t * width;
        NUMBER *to = out + t * width;
        float scale = FN(inverse)(row, width, epsilon), dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (long i = 0; i < width; i++) dot += WIDE(down[i]) * WIDE(weight[i]) * WIDE(row[i]);
        float share = dot * scale * scale * scale / (float)width;
        LANES for (long i = 0; i < width; i++)
            to[i] = NARROW(WIDE(down[i]) * WIDE(weight[i]) * scale - WIDE(row[i]) * share + WIDE(round[i]));
    }
}

/* both [T, 2 I], gate then up → out [T, I] = SiLU(gate) * up */
void FN(gate)(const NUMBER *pair, NUMBER *out, long tokens, long width, int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        const NUMBER *gate = pair + t * 2 * width, *up = gate + width;
        NUMBER *to = out + t * width;
        LANES for (long i = 0; i < width; i++) {
            float x = WIDE(gate[i]);
            to[i] = NARROW(WIDE(NARROW(x * logistic(x))) * WIDE(up[i]));
        }
    }
}

/* from slope [T, I]: the slope at both [T, 2 I], and again what `gate` gave [T, I] */
void FN(gate_backward)(const NUMBER *slope, const NUMBER *pair, NUMBER *out, NUMBER *again, long tokens, long width,
                       int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        const NUMBER *gate = pair + t * 2 * width, *up = gate + width, *down = slope + t * width;
        NUMBER *at_gate = out + t * 2 * width, *at_up = at_gate + width, *to = again + t * width;
        LANES for (long i = 0; i < width; i++) {
            float x = WIDE(gate[i]), share = logistic(x), bent = WIDE(NARROW(x * share));
            to[i] = NARROW(bent * WIDE(up[i]));
            at_up[i] = NARROW(WIDE(down[i]) * bent);
            at_gate[i] = NARROW(WIDE(down[i]) * WIDE(up[i]) * share * (1.0f + x * (1.0f - share)));
        }
    }
}

static inline void FN(turn)(const NUMBER *from, NUMBER *to, const NUMBER *cosine, const NUMBER *sine, long width) {
    long half = width / 2;
    LANES for (long i = 0; i < half; i++) {
        float left = WIDE(from[i]), right = WIDE(from[half + i]);
        to[i] = NARROW(left * WIDE(cosine[i]) - right * WIDE(sine[i]));
        to[half + i] = NARROW(right * WIDE(cosine[half + i]) + left * WIDE(sine[half + i]));
    }
}

static inline void FN(turn_back)(const NUMBER *from, NUMBER *to, const NUMBER *cosine, const NUMBER *sine, long width) {
    long half = width / 2;
    LANES for (long i = 0; i < half; i++) {
        float left = WIDE(from[i]), right = WIDE(from[half + i]);
        to[i] = NARROW(left * WIDE(cosine[i]) + right * WIDE(sine[half + i]));
        to[half + i] = NARROW(right * WIDE(cosine[half + i]) - left * WIDE(sine[i]));
    }
}

static inline void FN(copy)(const NUMBER *from, NUMBER *to, long width) {
    LANES for (long i = 0; i < width; i++) to[i] = from[i];
}

/* where the row of a head and a token lies in an array by block */
static inline long FN(place)(long head, long t, long heads, const int32_t *begin, const int32_t *count) {
    return (long)begin[t] * heads + head * count[t] + (t - begin[t]);
}

/* fused [T, heads + 2 key heads, D], turned by position (cosine, sine [T, D]) → query by block, key, value
   [key heads, T, D] */
void FN(split)(const NUMBER *fused, const NUMBER *cosine, const NUMBER *sine, const int32_t *begin,
               const int32_t *count, NUMBER *query, NUMBER *key, NUMBER *value, long tokens, long heads, long keys,
               long width, int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        const NUMBER *row = fused + t * (heads + 2 * keys) * width;
        for (long h = 0; h < heads; h++, row += width)
            FN(turn)(row, query + FN(place)(h, t, heads, begin, count) * width, cosine + t * width, sine + t * width,
                     width);
        for (long h = 0; h < keys; h++, row += width)
            FN(turn)(row, key + (h * tokens + t) * width, cosine + t * width, sine + t * width, width);
        for (long h = 0; h < keys; h++, row += width) FN(copy)(row, value + (h * tokens + t) * width, width);
    }
}

/* the way back of `split`, for slopes */
void FN(join)(const NUMBER *query, const NUMBER *key, const NUMBER *value, const NUMBER *cosine, const NUMBER *sine,
              const int32_t *begin, const int32_t *count, NUMBER *fused, long tokens, long heads, long keys, long width,
              int threads) {
    ROWS for (long t = 0; t < tokens; t++) {
        NUMBER *row = fused + t * (heads + 2 * keys) * width;
        for (long h = 0; h < heads; h++, row += width)
            FN(turn_back)(query + FN(place)(h, t, heads, begin, count) * width, row, cosine + t * width,
                          sine + t * width, width);
        for (long h = 0; h < keys; h++, row += width)
            FN(turn_back)(key + (h * tokens + t) * width, row, cosine + t * width, sine + t * width, width);
        for (long h = 0; h < keys; h++, row += width) FN(copy)(value + (h * tokens + t) * width, row, width);
    }
}

/* by block → flat [T, heads, D] */
void FN(flatten)(const NUMBER *blocked, const int32_t *begin, const int32_t *count, NUMBER *flat, long tokens,
                 long heads, long width, int threads) {
    ROWS for (long t = 0; t < tokens; t++)
        for (long h = 0; h < heads; h++)
            FN(copy)(blocked + FN(place)(h, t, heads, begin, count) * width, flat + (t * heads + h) * width, width);
}

/* slope, attended [T, heads, D] → slope by block, and their products summed over D, by block */
void FN(gather)(const NUMBER *slope, const NUMBER *attended, const int32_t *begin, const int32_t *count,
                NUMBER *blocked, float *dots, long tokens, long heads, long width, int threads) {
    ROWS for (long t = 0; t < tokens; t++)
        for (long h = 0; h < heads; h++) {
            const NUMBER *down = slope + (t * heads + h) * width, *seen = attended + (t * heads + h) * width;
            long at = FN(place)(h, t, heads, begin, count);
            float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
            for (long i = 0; i < width; i++) dot += WIDE(down[i]) * WIDE(seen[i]);
            dots[at] = dot;
            FN(copy)(down, blocked + at * width, width);
        }
}

/* in place: one row of scores → softmax of scale * scores over the last `window` keys before `stop`, zero elsewhere */
static inline void FN(weigh_row)(NUMBER *row, long stop, long keys, long window, float scale) {
    long start = stop > window ? stop - window : 0;
    float most = -INFINITY, total = 0.0f, kept[keys];
#pragma omp simd reduction(max : most)
    for (long i = start; i < stop; i++) {
        float score = WIDE(row[i]) * scale;
        kept[i] = score;
        most = score > most ? score : most;
    }
#pragma omp simd reduction(+ : total)
    for (long i = start; i < stop; i++) total += kept[i] = exponential(kept[i] - most);
    total = 1.0f / total;
    for (long i = 0; i < start; i++) row[i] = 0;
    LANES for (long i = start; i < stop; i++) row[i] = NARROW(kept[i] * total);
    for (long i = stop; i < keys; i++) row[i] = 0;
}

/* in place, for one row: from the slope at the weights to that at the raw scores */
static inline void FN(unweigh_row)(NUMBER *row, const NUMBER *weight, float dot, long keys, float scale) {
    LANES for (long i = 0; i < keys; i++) row[i] = NARROW((WIDE(row[i]) - dot) * WIDE(weight[i]) * scale);
}

/* `weigh_row` for [rows, keys]. Row r is query r % count, which stands at key `offset` + r % count */
void FN(weigh)(NUMBER *scores, long rows, long count, long keys, long offset, long window, float scale, int threads) {
    ROWS for (long r = 0; r < rows; r++)
        FN(weigh_row)(scores + r * keys, offset + r % count + 1, keys, window, scale);
}

/* `unweigh_row` for [rows, keys] */
void FN(unweigh)(NUMBER *slope, const NUMBER *weights, const float *dots, long rows, long keys, float scale,
                 int threads) {
    ROWS for (long r = 0; r < rows; r++) FN(unweigh_row)(slope + r * keys, weights + r * keys, dots[r], keys, scale);
}

/* in place: logits [rows, V] → the slope of each row's cross-entropy at them; `losses` [rows] in nats */
void FN(label_slopes)(NUMBER *logits, const int64_t *targets, float *losses, long rows, long size, int threads) {
    ROWS for (long r = 0; r < rows; r++) {
        NUMBER *row = logits + r * size;
        float most = -INFINITY, total = 0.0f, chosen = WIDE(row[targets[r]]);
#pragma omp simd reduction(max : most)
        for (long i = 0; i < size; i++) most = WIDE(row[i]) > most ? WIDE(row[i]) : most;
#pragma omp simd reduction(+ : total)
        for (long i = 0; i < size; i++) total += exponential(WIDE(row[i]) - most);
        losses[r] = logf(total) + most - chosen;
        float share = 1.0f / total, own = exponential(chosen - most) * share - 1.0f;
        LANES for (long i = 0; i < size; i++) row[i] = NARROW(exponential(WIDE(row[i]) - most) * share);
        row[targets[r]] = NARROW(own);
    }
}

#endif
