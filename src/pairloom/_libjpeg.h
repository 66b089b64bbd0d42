/* What libjpeg's interface of version 62 looks like in memory, as far as a decoder needs it. It hasn't changed since 1998; the
 * library itself refuses a caller that was compiled for another version or for another size of `decompress`. */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

enum { LIBJPEG = 62, YCC = 3 };

typedef struct errors {
    void (*stop)(void *); /* must not return */
    void (*message)(void *, int level); /* below zero: a warning */
    void (*show)(void *);
    void (*format)(void *, char *);
    void (*reset)(void *);
    int code;
    union {
        int numbers[8];
        char text[80];
    } said;
    int trace;
    long warnings;
    const char *const *texts;
    int last;
    const char *const *more_texts;
    int first_more, last_more;
} errors;

typedef struct {
    int id, index, across, down; /* `across`, `down`: sampling factors */
    int quantised_by, dc_by, ac_by;
    unsigned blocks_across, blocks_down;
    int side; /* of a block as it is decoded, in pixels */
    unsigned width, height;
    int wanted;
    int mcu[6];
    void *quantised, *inner;
} component;

typedef struct {
    errors *errors;
    void *memory, *progress, *client;
    int decompresses, state;
    void *source;
    unsigned width, height;
    int parts, space, space_wanted;
    unsigned scale, scale_of;
    double gamma;
    int buffered, raw, method, smooth_colours, smooth_blocks, few_colours, dither, two_pass, colours, passes[3];
    unsigned width_made, height_made;
    int made[4];
    void *colour_map;
    unsigned row; /* of the output, that comes next */
    int scan;
    unsigned scan_row;
    int scan_made;
    unsigned scan_made_row;
    void *bits, *tables[12];
    int precision;
    component *components;
    int progressive, arithmetic;
    uint8_t conditions[48];
    unsigned restart;
    int jfif;
    uint8_t jfif_said[3];
    uint16_t density[2];
    int adobe;
    uint8_t adobe_said;
    int ccir;
    void *markers;
    int most_across, most_down, side; /* the largest sampling factors; the side of the smallest block as it is decoded */
    unsigned rows_of_mcus;
    void *limits;
    int in_scan;
    void *current[4];
    unsigned mcus[2];
    int in_mcu, membership[10], spectrum[4], unread;
    void *inner[11];
} decompress;
