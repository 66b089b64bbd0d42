/* What is done to pixels one by one: transparency put on one colour, and the colours of JPEG. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *data;
    ptrdiff_t stride;
    size_t width, height, channels;
} image;

static int same_size(const image *one, const image *other) {
    return one->width == other->width && one->height == other->height;
}

/* RGBA on an opaque colour. A product of two bytes is divided by 255 with rounding, as everywhere in Pillow. */
static void composite(const image *from, const image *to, const unsigned char *colour) {
    for (size_t y = 0; y < from->height; y++) {
        const unsigned char *in = from->data + (ptrdiff_t)y * from->stride;
        unsigned char *out = to->data + (ptrdiff_t)y * to->stride;
        for (size_t x = 0; x < from->width; x++, in += 4, out += 3) {
            unsigned alpha = in[3];
            if (alpha == 255 || alpha == 0) { /* most pixels of a drawing */
                const unsigned char *shown = alpha ? in : colour;
                out[0] = shown[0], out[1] = shown[1], out[2] = shown[2];
                continue;
            }
            for (size_t c = 0; c < 3; c++) {
                unsigned sum = in[c] * alpha + colour[c] * (255 - alpha) + 128;
                out[c] = (unsigned char)((sum + (sum >> 8)) >> 8);
            }
        }
    }
}

static inline uint8_t byte_of(int value) {
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Lightness and two colours to RGB, by the formulas of JFIF with 16 bits behind the point, as libjpeg has them. */
static inline void rgb_row(const uint8_t *restrict y, const uint8_t *restrict blue, const uint8_t *restrict red, size_t count,
                           uint8_t *restrict out) {
    for (size_t x = 0; x < count; x++, out += 3) {
        int more_blue = blue[x] - 128, more_red = red[x] - 128;
        out[0] = byte_of(y[x] + ((91881 * more_red + 32768) >> 16));
        out[1] = byte_of(y[x] + ((32768 - 22554 * more_blue - 46802 * more_red) >> 16));
        out[2] = byte_of(y[x] + ((116130 * more_blue + 32768) >> 16));
    }
}

static inline void rgb_rows(const image *light, const image *blue, const image *red, const image *to) {
    for (size_t y = 0; y < to->height; y++) {
        ptrdiff_t row = (ptrdiff_t)y;
        rgb_row(light->data + row * light->stride, blue->data + row * blue->stride, red->data + row * red->stride, to->width,
                to->data + row * to->stride);
    }
}

/* Means of four neighbours; at an odd edge the last counts twice. What is just between is rounded up and down in turn, as
 * libjpeg's encoder does it when it makes colours smaller. */
static inline void halve_rows(const image *from, const image *to) {
    for (size_t y = 0; y < to->height; y++) {
        const uint8_t *above = from->data + (ptrdiff_t)(2 * y) * from->stride;
        const uint8_t *below = 2 * y + 1 < from->height ? above + from->stride : above;
        uint8_t *restrict out = to->data + (ptrdiff_t)y * to->stride;
        size_t pairs = from->width / 2;
        for (size_t x = 0; x < pairs; x++)
            out[x] = (uint8_t)((above[2 * x] + above[2 * x + 1] + below[2 * x] + below[2 * x + 1] + 1 + (int)(x % 2)) >> 2);
        if (from->width % 2)
            out[pairs] = (uint8_t)((2 * above[2 * pairs] + 2 * below[2 * pairs] + 1 + (int)(pairs % 2)) >> 2);
    }
}

/* The same code, compiled for processors that do more at a time. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE __attribute__((target("avx2"), flatten))
static int is_wide(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}
#else
#define WIDE
static int is_wide(void) {
    return 0;
}
#endif

WIDE static void rgb_wide(const image *light, const image *blue, const image *red, const image *to) {
    rgb_rows(light, blue, red, to);
}

WIDE static void halve_wide(const image *from, const image *to) {
    halve_rows(from, to);
}

static void rgb(const image *light, const image *blue, const image *red, const image *to) {
    (is_wide() ? rgb_wide : rgb_rows)(light, blue, red, to);
}

static void halve(const image *from, const image *to) {
    (is_wide() ? halve_wide : halve_rows)(from, to);
}
