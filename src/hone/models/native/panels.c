/* Products with weights that lie in panels: few rows of states against every output, at the speed of memory.

   Built by build.py. A panel is 2 LANES outputs: for each input two vectors of LANES weights, low and high. Where weights
   are bfloat16 the two lie in one vector of 32-bit words, low outputs in the low halves, so that a shift and a mask widen
   them. Sums run over the inputs in order, in float: a result depends neither on the other rows nor on the threads. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#define MOST 12
#else
#define LANES 8
#define MOST 6 /* rows whose sums fit into the registers beside a panel's weights */
#endif
#define PANEL (2 * LANES)
#define SHARED _Pragma("omp parallel for schedule(static) num_threads(threads)")
#define INSIDE _Pragma("omp for schedule(static)") /* by all threads of a team that is already at work */
#define EACH _Pragma("GCC unroll 12")
#define ALWAYS static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t words __attribute__((vector_size(4 * LANES), aligned(4)));

static long panels_of(long outputs) { return (outputs + PANEL - 1) / PANEL; }

/* how many outputs a panel has */
long panel_width(void) { return PANEL; }

/* weight [outputs, inputs] → panels; outputs that are not there count as zero */
void lay_bfloat16(const uint16_t *weight, uint32_t *panels, long outputs, long inputs, int threads) {
    SHARED for (long p = 0; p < panels_of(outputs); p++) for (long i = 0; i < inputs; i++) for (long l = 0; l < LANES; l++) {
        long low = p * PANEL + l, high = low + LANES;
        uint32_t under = low < outputs ? weight[low * inputs + i] : 0, over = high < outputs ? weight[high * inputs + i] : 0;
        panels[(p * inputs + i) * LANES + l] = under | over << 16;
    }
}

void lay_float32(const float *weight, float *panels, long outputs, long inputs, int threads) {
    SHARED for (long p = 0; p < panels_of(outputs); p++) for (long i = 0; i < inputs; i++) for (long l = 0; l < PANEL; l++) {
        long output = p * PANEL + l;
        panels[(p * inputs + i) * PANEL + l] = output < outputs ? weight[output * inputs + i] : 0.0f;
    }
}

typedef struct {
    const float *states; /* [rows, inputs] */
    const void *panels;
    const float *bias; /* [outputs] or NULL */
    float *out;        /* [rows, outputs] */
    long rows, inputs, outputs;
    int add; /* to what stands there */
} task;

/* one row's sums of a panel; apart, so that a tile without loops keeps its own in registers */
static __attribute__((noinline)) void put(const task *all, long row, long panel, floats low, floats high) {
    float both[PANEL], *out = all->out + row * all->outputs + panel * PANEL;
    long left = all->outputs - panel * PANEL, count = left < PANEL ? left : PANEL;
    memcpy(both, &low, sizeof low);
    memcpy(both + LANES, &high, sizeof high);
    if (all->bias) for (long l = 0; l < count; l++) both[l] += all->bias[panel * PANEL + l];
    if (all->add) for (long l = 0; l < count; l++) both[l] += out[l];
    memcpy(out, both, sizeof *both * (size_t)count);
}

/* `rows` rows from `first` on against `wide` panels from `panel` on; half: weights are bfloat16. The last three are known
   when this is compiled, so that all sums stay in registers. */
ALWAYS void tile(const task *all, long first, long panel, const int rows, const int wide, const int half) {
    const float *states = all->states + first * all->inputs;
    floats low[2][MOST], high[2][MOST];
    EACH for (int r = 0; r < rows; r++) EACH for (int p = 0; p < wide; p++) low[p][r] = high[p][r] = (floats){0};
    for (long i = 0; i < all->inputs; i++) {
        floats under[2], over[2];
        EACH for (int p = 0; p < wide; p++) {
            long at = (panel + p) * all->inputs + i;
            if (half) {
                words both = ((const words *)all->panels)[at];
                under[p] = (floats)(both << 16), over[p] = (floats)(both & 0xffff0000u);
            } else {
                under[p] = ((const floats *)all->panels)[2 * at], over[p] = ((const floats *)all->panels)[2 * at + 1];
            }
        }
        EACH for (int r = 0; r < rows; r++) {
            float state = states[r * all->inputs + i];
            EACH for (int p = 0; p < wide; p++) low[p][r] += under[p] * state, high[p][r] += over[p] * state;
        }
    }
    EACH for (int r = 0; r < rows; r++) EACH for (int p = 0; p < wide; p++)
        put(all, first + r, panel + p, low[p][r], high[p][r]);
}

ALWAYS void rows_of(const task *all, long first, long panel, long rows, const int half) {
    switch (rows) {
#define CASE(n) case n: tile(all, first, panel, n, 1, half); break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if MOST > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

ALWAYS void shared_out(const task *all, const int half) {
    long count = panels_of(all->outputs), parts = (all->rows + MOST - 1) / MOST;
    if (all->rows == 1) { /* two panels at once: one row's sums alone would wait for each other */
        INSIDE for (long p = 0; p < count; p += 2)
            if (p + 1 < count) tile(all, 0, p, 1, 2, half);
            else tile(all, 0, p, 1, 1, half);
    } else {
        INSIDE for (long p = 0; p < count; p++) for (long part = 0; part < parts; part++) {
            long first = part * all->rows / parts, stop = (part + 1) * all->rows / parts;
            rows_of(all, first, p, stop - first, half);
        }
    }
}

/* states [rows, inputs] → out [rows, outputs], `add`: to what stands there */
void multiply_inside(const float *states, const void *panels, const float *bias, float *out, long rows, long inputs,
                     long outputs, int half, int add) {
    task all = {states, panels, bias, out, rows, inputs, outputs, add};
    if (half) shared_out(&all, 1);
    else shared_out(&all, 0);
}

void multiply_bfloat16(const float *states, const uint32_t *panels, float *out, long rows, long inputs, long outputs,
                       int threads) {
#pragma omp parallel num_threads(threads)
    multiply_inside(states, panels, NULL, out, rows, inputs, outputs, 1, 0);
}

void multiply_float32(const float *states, const float *panels, float *out, long rows, long inputs, long outputs,
                      int threads) {
#pragma omp parallel num_threads(threads)
    multiply_inside(states, panels, NULL, out, rows, inputs, outputs, 0, 0);
}
