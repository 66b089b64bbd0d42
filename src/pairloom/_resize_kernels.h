/* The inner loops of the resize, once for each kind of processor. All of them do the same integer arithmetic.
 *
 * Data lie so that both passes are one and the same sum. A *group* holds four neighbouring taps of one sample in four
 * bytes. A *strip* is 16 source rows, regrouped: for every four columns 192 bytes [channel][row][column]. The first pass
 * sums one column of a strip (48 samples) for each output column; the rows of its result are the taps of the second pass,
 * so it writes *quads*, four rows as [sample][row], and the second pass sums 48 samples of a quad at a time. A plane, whose
 * pixels are single bytes, goes the same way with 48 rows in a strip, [row][column], in place of 16 rows of three channels.
 *
 * A coefficient has 24 bits with its sign, more than a processor multiplies by a byte at once. It is split into parts
 * (12 + 12 bits, or three bytes); the parts are summed apart and put together at the end, which is exact modulo 2^32. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-coalesce-vars") /* with it, gcc copies every sum to and fro in the inner loops: 10 % */
#endif

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TAPS = 4, ROWS = 16, SAMPLES = 48, GROUP = SAMPLES * TAPS, BITS = 22, HALF = 1 << (BITS - 1) };

typedef union {
    int32_t whole[4];
    int16_t half[8];   /* avx2: high parts of taps 0 and 2, of 1 and 3; low parts of 0 and 2, of 1 and 3 */
    int8_t digit[16];  /* vnni: the lowest bytes of the four, the middle ones, the highest ones */
    int32_t word[4];
} group;

/* What each output column (or row) sums: `groups[i]` groups, one at least, from group `first[i]` on, with coefficients at `taps + i * room`. */
typedef struct {
    size_t count, room, end; /* `end`: behind the last group of all */
    size_t *first, *groups;
    group *taps;
    int32_t peak; /* the largest coefficient, without its sign */
} axis;

typedef struct {
    const char *name;
    int32_t limit; /* what a coefficient must stay below to be split */
    void (*split)(group *taps, size_t count);
    /* `count` groups from group `first` on, of rows of `bytes` bytes, into a strip */
    void (*regroup)(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip);
    void (*regroup_plane)(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip);
    /* a strip through the first pass: of each column 12 bytes (and 4 that don't matter) to each of four quads */
    void (*across)(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride);
    /* the same for a plane: of four columns at a time 16 bytes to each of twelve quads */
    void (*across_plane)(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride);
    /* quads through the second pass: row `y` of the result, `bytes` long */
    void (*down)(const uint8_t *quad, size_t stride, const axis *rows, size_t y, size_t bytes, uint8_t *out);
} kernel;

static void split_nothing(group *taps, size_t count) {
    (void)taps, (void)count;
}

/* Four columns of all rows; columns beyond the edge are black (their coefficients are zero). */
static void regroup_one(const uint8_t *const *rows, size_t bytes, size_t start, uint8_t *to) {
    for (size_t channel = 0; channel < 3; channel++)
        for (size_t row = 0; row < ROWS; row++)
            for (size_t tap = 0; tap < TAPS; tap++) {
                size_t at = start + 3 * tap + channel;
                *to++ = at < bytes ? rows[row][at] : 0;
            }
}

static void regroup_portable(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip) {
    for (size_t i = 0; i < count; i++)
        regroup_one(rows, bytes, (first + i) * 3 * TAPS, strip + i * GROUP);
}

/* Four columns of 48 rows of a plane. */
static void regroup_plane_one(const uint8_t *const *rows, size_t bytes, size_t start, uint8_t *to) {
    for (size_t row = 0; row < SAMPLES; row++)
        for (size_t at = start; at < start + TAPS; at++)
            *to++ = at < bytes ? rows[row][at] : 0;
}

static void regroup_plane_portable(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip) {
    for (size_t i = 0; i < count; i++)
        regroup_plane_one(rows, bytes, (first + i) * TAPS, strip + i * GROUP);
}

static inline void sum_portable(const uint8_t *data, size_t step, const group *taps, size_t groups, uint8_t *out) {
    uint32_t sum[SAMPLES];
    for (size_t i = 0; i < SAMPLES; i++)
        sum[i] = HALF;
    for (; groups--; taps++, data += step) {
        uint32_t k[4];
        memcpy(k, taps->whole, sizeof k);
        for (size_t i = 0; i < SAMPLES; i++)
            sum[i] += data[4 * i] * k[0] + data[4 * i + 1] * k[1] + data[4 * i + 2] * k[2] + data[4 * i + 3] * k[3];
    }
    for (size_t i = 0; i < SAMPLES; i++) {
        int32_t value = (int32_t)sum[i] >> BITS;
        out[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static void across_portable(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    uint8_t out[SAMPLES];
    for (size_t x = 0; x < columns->count; x++, quad += 3 * ROWS / 4) {
        const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
        sum_portable(data, GROUP, columns->taps + x * columns->room, columns->groups[x], out);
        for (size_t i = 0; i < SAMPLES / 4; i++)
            memcpy(quad + i % 4 * stride + i / 4 * 4, out + 4 * i, 4);
    }
}

static void across_plane_portable(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    uint8_t out[SAMPLES];
    for (size_t x = 0; x < columns->count; x++, quad += TAPS) {
        const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
        sum_portable(data, GROUP, columns->taps + x * columns->room, columns->groups[x], out);
        for (size_t i = 0; i < SAMPLES / 4; i++)
            memcpy(quad + i * stride, out + 4 * i, 4);
    }
}

static void down_portable(const uint8_t *quad, size_t stride, const axis *rows, size_t y, size_t bytes, uint8_t *out) {
    uint8_t block[SAMPLES];
    for (size_t at = 0; at < bytes; at += SAMPLES) {
        sum_portable(quad + at * TAPS, stride, rows->taps + y * rows->room, rows->groups[y], block);
        memcpy(out + at, block, bytes - at < SAMPLES ? bytes - at : SAMPLES);
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

AVX2 static void regroup_avx2(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip) {
    const __m128i order = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    for (size_t i = 0; i < count; i++, strip += GROUP) {
        size_t at = (first + i) * 3 * TAPS;
        if (at + 16 > bytes) { /* 16 bytes are read where 12 are wanted */
            regroup_one(rows, bytes, at, strip);
            continue;
        }
        for (size_t j = 0; j < ROWS; j += 4) {
            __m128i r[4];
            for (size_t k = 0; k < 4; k++)
                r[k] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(rows[j + k] + at)), order);
            __m128i low01 = _mm_unpacklo_epi32(r[0], r[1]), low23 = _mm_unpacklo_epi32(r[2], r[3]);
            __m128i high01 = _mm_unpackhi_epi32(r[0], r[1]), high23 = _mm_unpackhi_epi32(r[2], r[3]);
            __m128i *to = (__m128i *)(strip + 4 * j);
            _mm_storeu_si128(to, _mm_unpacklo_epi64(low01, low23));
            _mm_storeu_si128(to + 4, _mm_unpackhi_epi64(low01, low23));
            _mm_storeu_si128(to + 8, _mm_unpacklo_epi64(high01, high23));
        }
    }
}

/* 16 columns of four rows. */
AVX2 INLINE void regroup_some_avx2(const uint8_t *const *rows, size_t at, uint8_t *to) {
    __m128i r0 = _mm_loadu_si128((const __m128i *)(rows[0] + at)), r1 = _mm_loadu_si128((const __m128i *)(rows[1] + at));
    __m128i r2 = _mm_loadu_si128((const __m128i *)(rows[2] + at)), r3 = _mm_loadu_si128((const __m128i *)(rows[3] + at));
    __m128i low01 = _mm_unpacklo_epi32(r0, r1), low23 = _mm_unpacklo_epi32(r2, r3);
    __m128i high01 = _mm_unpackhi_epi32(r0, r1), high23 = _mm_unpackhi_epi32(r2, r3);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi64(low01, low23));
    _mm_storeu_si128((__m128i *)(to + GROUP), _mm_unpackhi_epi64(low01, low23));
    _mm_storeu_si128((__m128i *)(to + 2 * GROUP), _mm_unpacklo_epi64(high01, high23));
    _mm_storeu_si128((__m128i *)(to + 3 * GROUP), _mm_unpackhi_epi64(high01, high23));
}

AVX2 static void regroup_plane_avx2(const uint8_t *const *rows, size_t bytes, size_t first, size_t count, uint8_t *strip) {
    enum { BLOCK = 64 }; /* columns at a time: 48 rows may share a few lines of the cache, which must not be asked for again */
    size_t end = first + count;
    for (; first < end; first += BLOCK / TAPS, strip += BLOCK / TAPS * GROUP) {
        size_t at = first * TAPS, whole = at + BLOCK <= bytes && first + BLOCK / TAPS <= end ? BLOCK : 0;
        for (size_t row = 0; row < SAMPLES && whole; row += 4)
            for (size_t i = 0; i < BLOCK; i += 16)
                regroup_some_avx2(rows + row, at + i, strip + 4 * row + i / TAPS * GROUP);
        for (size_t i = 0; i < BLOCK / TAPS && first + i < end && !whole; i++)
            regroup_plane_one(rows, bytes, at + TAPS * i, strip + i * GROUP);
    }
}

static void split_avx2(group *taps, size_t count) {
    for (; count--; taps++) {
        group made;
        for (int i = 0; i < 4; i++) {
            int place = i % 2 * 2 + i / 2;
            made.half[place] = (int16_t)(taps->whole[i] >> 12);
            made.half[4 + place] = (int16_t)(taps->whole[i] & 4095);
        }
        *taps = made;
    }
}

AVX2 INLINE __m256i whole_avx2(__m256i low, __m256i high) {
    return _mm256_srai_epi32(_mm256_add_epi32(low, _mm256_slli_epi32(high, 12)), BITS);
}

AVX2 INLINE __m256i more_avx2(__m256i sum, __m256i taps02, __m256i taps13, __m256i k02, __m256i k13) {
    return _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(taps02, k02), _mm256_madd_epi16(taps13, k13)));
}

/* 24 samples: of each channel's 64 bytes the first 32. In each 128-bit lane, four of the three channels each.
 * Variables are named one by one: compilers keep arrays in memory. */
AVX2 INLINE __m256i sum_avx2(const uint8_t *data, size_t step, const group *taps, size_t groups) {
    const __m256i even = _mm256_set1_epi16(255);
    __m256i low0 = _mm256_set1_epi32(HALF), low1 = low0, low2 = low0;
    __m256i high0 = _mm256_setzero_si256(), high1 = high0, high2 = high0;
    do {
        __m256i k0 = _mm256_set1_epi32(taps->word[0]), k1 = _mm256_set1_epi32(taps->word[1]);
        __m256i k2 = _mm256_set1_epi32(taps->word[2]), k3 = _mm256_set1_epi32(taps->word[3]);
        __m256i odd = _mm256_loadu_si256((const __m256i *)data), four = _mm256_and_si256(odd, even);
        odd = _mm256_srli_epi16(odd, 8);
        high0 = more_avx2(high0, four, odd, k0, k1), low0 = more_avx2(low0, four, odd, k2, k3);
        odd = _mm256_loadu_si256((const __m256i *)(data + 64)), four = _mm256_and_si256(odd, even);
        odd = _mm256_srli_epi16(odd, 8);
        high1 = more_avx2(high1, four, odd, k0, k1), low1 = more_avx2(low1, four, odd, k2, k3);
        odd = _mm256_loadu_si256((const __m256i *)(data + 128)), four = _mm256_and_si256(odd, even);
        odd = _mm256_srli_epi16(odd, 8);
        high2 = more_avx2(high2, four, odd, k0, k1), low2 = more_avx2(low2, four, odd, k2, k3);
        taps++, data += step;
    } while (--groups);
    __m256i first = _mm256_packs_epi32(whole_avx2(low0, high0), whole_avx2(low1, high1));
    return _mm256_packus_epi16(first, _mm256_packs_epi32(whole_avx2(low2, high2), _mm256_setzero_si256()));
}

AVX2 static void across_avx2(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    for (size_t x = 0; x < columns->count; x++, quad += 3 * ROWS / 4) {
        const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
        for (size_t half = 0; half < 2; half++) {
            __m256i sum = sum_avx2(data + 32 * half, GROUP, columns->taps + x * columns->room, columns->groups[x]);
            _mm_storeu_si128((__m128i *)(quad + 2 * half * stride), _mm256_castsi256_si128(sum));
            _mm_storeu_si128((__m128i *)(quad + (2 * half + 1) * stride), _mm256_extracti128_si256(sum, 1));
        }
    }
}

/* The sums of column `x`, or of the last one beyond it. */
AVX2 INLINE __m256i column_avx2(const uint8_t *strip, const axis *columns, size_t x) {
    x = x < columns->count ? x : columns->count - 1;
    const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
    return sum_avx2(data, GROUP, columns->taps + x * columns->room, columns->groups[x]);
}

AVX2 static void across_plane_avx2(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    for (size_t x = 0; x < columns->count; x += 4, quad += 16)
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *from = strip + 32 * half;
            __m256i s0 = column_avx2(from, columns, x), s1 = column_avx2(from, columns, x + 1);
            __m256i s2 = column_avx2(from, columns, x + 2), s3 = column_avx2(from, columns, x + 3);
            __m256i low01 = _mm256_unpacklo_epi32(s0, s1), low23 = _mm256_unpacklo_epi32(s2, s3);
            __m256i made[3] = {_mm256_unpacklo_epi64(low01, low23), _mm256_unpackhi_epi64(low01, low23),
                               _mm256_unpacklo_epi64(_mm256_unpackhi_epi32(s0, s1), _mm256_unpackhi_epi32(s2, s3))};
            for (size_t i = 0; i < 3; i++) {
                uint8_t *to = quad + (4 * i + 2 * half) * stride;
                _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(made[i]));
                _mm_storeu_si128((__m128i *)(to + stride), _mm256_extracti128_si256(made[i], 1));
            }
        }
}

AVX2 static void down_avx2(const uint8_t *quad, size_t stride, const axis *rows, size_t y, size_t bytes, uint8_t *out) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (size_t at = 0; at < bytes; at += SAMPLES) {
        uint64_t block[2][4];
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *data = quad + at * TAPS + 32 * half;
            __m256i sum = sum_avx2(data, stride, rows->taps + y * rows->room, rows->groups[y]);
            _mm256_storeu_si256((__m256i *)block[half], _mm256_permutevar8x32_epi32(sum, order));
        }
        uint64_t line[6] = {block[0][0], block[1][0], block[0][1], block[1][1], block[0][2], block[1][2]};
        memcpy(out + at, line, bytes - at < SAMPLES ? bytes - at : SAMPLES);
    }
}

static void split_vnni(group *taps, size_t count) {
    for (; count--; taps++) {
        __m128i rest = _mm_loadu_si128((const __m128i *)taps->whole), part[3];
        for (int i = 0; i < 3; i++) {
            part[i] = _mm_srai_epi32(_mm_slli_epi32(rest, 24), 24); /* the lowest byte with its sign */
            rest = _mm_srai_epi32(_mm_sub_epi32(rest, part[i]), 8);
        }
        __m128i low = _mm_packs_epi32(part[0], part[1]), high = _mm_packs_epi32(part[2], _mm_setzero_si128());
        _mm_storeu_si128((__m128i *)taps->digit, _mm_packs_epi16(low, high));
    }
}

VNNI INLINE __m512i whole_vnni(__m512i low, __m512i middle, __m512i high) {
    middle = _mm512_add_epi32(middle, _mm512_slli_epi32(high, 8));
    return _mm512_srai_epi32(_mm512_add_epi32(low, _mm512_slli_epi32(middle, 8)), BITS);
}

/* 48 samples. In each 128-bit lane, four of the three channels each. Named one by one: compilers keep arrays in memory. */
VNNI INLINE __m512i sum_vnni(const uint8_t *data, size_t step, const group *taps, size_t groups) {
    __m512i low0 = _mm512_set1_epi32(HALF), low1 = low0, low2 = low0;
    __m512i mid0 = _mm512_setzero_si512(), mid1 = mid0, mid2 = mid0, high0 = mid0, high1 = mid0, high2 = mid0;
    do {
        __m512i k0 = _mm512_set1_epi32(taps->word[0]), k1 = _mm512_set1_epi32(taps->word[1]);
        __m512i k2 = _mm512_set1_epi32(taps->word[2]);
        __m512i four0 = _mm512_loadu_si512(data), four1 = _mm512_loadu_si512(data + 64), four2 = _mm512_loadu_si512(data + 128);
        low0 = _mm512_dpbusd_epi32(low0, four0, k0);
        low1 = _mm512_dpbusd_epi32(low1, four1, k0);
        low2 = _mm512_dpbusd_epi32(low2, four2, k0);
        mid0 = _mm512_dpbusd_epi32(mid0, four0, k1);
        mid1 = _mm512_dpbusd_epi32(mid1, four1, k1);
        mid2 = _mm512_dpbusd_epi32(mid2, four2, k1);
        high0 = _mm512_dpbusd_epi32(high0, four0, k2);
        high1 = _mm512_dpbusd_epi32(high1, four1, k2);
        high2 = _mm512_dpbusd_epi32(high2, four2, k2);
        taps++, data += step;
    } while (--groups);
    __m512i first = _mm512_packs_epi32(whole_vnni(low0, mid0, high0), whole_vnni(low1, mid1, high1));
    return _mm512_packus_epi16(first, _mm512_packs_epi32(whole_vnni(low2, mid2, high2), _mm512_setzero_si512()));
}

VNNI INLINE void store_vnni(__m512i made, uint8_t *quad, size_t stride) {
    _mm_storeu_si128((__m128i *)quad, _mm512_castsi512_si128(made));
    _mm_storeu_si128((__m128i *)(quad + stride), _mm512_extracti32x4_epi32(made, 1));
    _mm_storeu_si128((__m128i *)(quad + 2 * stride), _mm512_extracti32x4_epi32(made, 2));
    _mm_storeu_si128((__m128i *)(quad + 3 * stride), _mm512_extracti32x4_epi32(made, 3));
}

VNNI static void across_vnni(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    for (size_t x = 0; x < columns->count; x++, quad += 3 * ROWS / 4) {
        const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
        store_vnni(sum_vnni(data, GROUP, columns->taps + x * columns->room, columns->groups[x]), quad, stride);
    }
}

VNNI INLINE __m512i column_vnni(const uint8_t *strip, const axis *columns, size_t x) {
    x = x < columns->count ? x : columns->count - 1;
    const uint8_t *data = strip + (columns->first[x] - columns->first[0]) * GROUP;
    return sum_vnni(data, GROUP, columns->taps + x * columns->room, columns->groups[x]);
}

VNNI static void across_plane_vnni(const uint8_t *strip, const axis *columns, uint8_t *quad, size_t stride) {
    for (size_t x = 0; x < columns->count; x += 4, quad += 16) {
        __m512i s0 = column_vnni(strip, columns, x), s1 = column_vnni(strip, columns, x + 1);
        __m512i s2 = column_vnni(strip, columns, x + 2), s3 = column_vnni(strip, columns, x + 3);
        __m512i low01 = _mm512_unpacklo_epi32(s0, s1), low23 = _mm512_unpacklo_epi32(s2, s3);
        store_vnni(_mm512_unpacklo_epi64(low01, low23), quad, stride);
        store_vnni(_mm512_unpackhi_epi64(low01, low23), quad + 4 * stride, stride);
        low01 = _mm512_unpackhi_epi32(s0, s1), low23 = _mm512_unpackhi_epi32(s2, s3);
        store_vnni(_mm512_unpacklo_epi64(low01, low23), quad + 8 * stride, stride);
    }
}

VNNI static void down_vnni(const uint8_t *quad, size_t stride, const axis *rows, size_t y, size_t bytes, uint8_t *out) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (size_t at = 0; at < bytes; at += SAMPLES) {
        __m512i sum = sum_vnni(quad + at * TAPS, stride, rows->taps + y * rows->room, rows->groups[y]);
        size_t left = bytes - at < SAMPLES ? bytes - at : SAMPLES;
        _mm512_mask_storeu_epi8(out + at, (1ULL << left) - 1, _mm512_permutexvar_epi32(order, sum));
    }
}
#endif

/* The kernels that this processor can run, the fastest first. */
static size_t kernels_here(kernel found[3]) {
    size_t count = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    int wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (wide && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2"))
        found[count++] = (kernel){"vnni", 127 << 16, split_vnni, regroup_avx2, regroup_plane_avx2, across_vnni, across_plane_vnni, down_vnni};
    if (__builtin_cpu_supports("avx2"))
        found[count++] = (kernel){"avx2", 1 << 27, split_avx2, regroup_avx2, regroup_plane_avx2, across_avx2, across_plane_avx2, down_avx2};
#endif
    found[count++] = (kernel){"portable", INT32_MAX, split_nothing, regroup_portable, regroup_plane_portable, across_portable, across_plane_portable,
                              down_portable};
    return count;
}
