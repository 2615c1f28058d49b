/* What all functions of machine code share: how bfloat16 is read and written, the exponential, how loops are run. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float number_of(uint32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline uint32_t bits_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline float widen_half(uint16_t half) { return number_of((uint32_t)half << 16); }

static inline uint16_t narrow_half(float number) { /* to the nearest, ties to even, NaN stays NaN */
    uint32_t bits = bits_of(number), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return number != number ? 0x7fc0 : (uint16_t)rounded;
}

static inline float same(float number) { return number; }

static inline float exponential(float x) { /* x <= 88; within 2 units in the last place; under -87 counts as -87 */
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f, whole = shifted - 12582912.0f;
    float rest = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return sum * number_of((bits_of(shifted) - 0x4b400000u + 127u) << 23);
}

static inline float logistic(float x) { /* under -75 counts as -75: a product with less can cost 100 cycles */
    x = x < -75.0f ? -75.0f : x;
    return 1.0f / (1.0f + exponential(-x));
}

#define ROWS _Pragma("omp parallel for schedule(static) num_threads(threads)")
#define LANES _Pragma("omp simd")
#define TEAM _Pragma("omp parallel num_threads(threads)")
#define INSIDE _Pragma("omp for schedule(static)") /* by all threads of a team that is already at work */
