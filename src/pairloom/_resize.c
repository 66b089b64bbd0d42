/* Resize of RGB pixels and of planes, byte for byte what Pillow's `Image.resize` gives, several times as fast; beside it what
 * is done to pixels one by one, see _pixels.h.
 *
 * The filters, the order of the floating-point operations, the fixed point with 22 bits and the rounding to bytes between
 * the two passes (columns first) are those of Pillow's libImaging/Resample.c; the code and the layout of data are our own,
 * see _resize_kernels.h. Where Pillow leaves a pass out, the coefficients are those of the identity, so here none is. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "_pixels.h"
#include "_resize_kernels.h"

enum { LARGEST = 1 << 24 }; /* beyond, the float32 of a box no longer counts pixels */

typedef struct {
    const char *name;
    double (*weight)(double);
    double support;
} filter;

static const double PI = 3.14159265358979323846;

static double box(double x) {
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double hamming(double x) {
    x = fabs(x);
    if (x == 0.0)
        return 1.0;
    if (x >= 1.0)
        return 0.0;
    x *= PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x)); /* the constants are float32 in Pillow, too */
}

static double bicubic(double x) { /* Keys' cubic convolution, a = -0.5 */
    x = fabs(x);
    if (x < 1.0)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0.0;
}

static double sinc(double x) {
    return x == 0.0 ? 1.0 : sin(x * PI) / (x * PI);
}

static double lanczos(double x) {
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static const filter FILTERS[] = {
    {"box", box, 0.5}, {"bilinear", bilinear, 1.0}, {"hamming", hamming, 1.0}, {"bicubic", bicubic, 2.0}, {"lanczos", lanczos, 3.0},
};

static void axis_free(axis *made) {
    free(made->first), free(made->groups), free(made->taps);
}

/* The coefficients of one output place, in fixed point, into groups that begin at a multiple of four. */
static void axis_place(axis *made, size_t place, double *weights, int from, int count) {
    double total = 0.0;
    for (int i = 0; i < count; i++)
        total += weights[i];
    group *to = made->taps + place * made->room;
    int lead = from % TAPS;
    for (int i = 0; i < count; i++) {
        double exact = (total != 0.0 ? weights[i] / total : weights[i]) * (1 << BITS);
        int32_t k = (int32_t)(exact < 0 ? exact - 0.5 : exact + 0.5);
        to[(lead + i) / TAPS].whole[(lead + i) % TAPS] = k;
        if (abs(k) > made->peak)
            made->peak = abs(k);
    }
    made->first[place] = (size_t)(from / TAPS);
    made->groups[place] = count > 0 ? (size_t)(lead + count + TAPS - 1) / TAPS : 1; /* none at all: a group of zeros */
    if (made->first[place] + made->groups[place] > made->end)
        made->end = made->first[place] + made->groups[place];
}

/* 0, or -1 when there is no memory. */
static int axis_make(axis *made, size_t in, size_t out, float start, float end, const filter *by) {
    double scale = (double)(float)(end - start) / (double)out, wide = scale < 1.0 ? 1.0 : scale;
    double support = by->support * wide, inverse = 1.0 / wide;
    size_t most = (size_t)ceil(support) * 2 + 1;
    *made = (axis){.count = out, .room = ((most < in ? most : in) + 2 * TAPS - 2) / TAPS};
    made->first = calloc(out, sizeof *made->first);
    made->groups = calloc(out, sizeof *made->groups);
    made->taps = made->room > SIZE_MAX / out ? NULL : calloc(out * made->room, sizeof *made->taps);
    double *weights = calloc(most, sizeof *weights);
    if (!made->first || !made->groups || !made->taps || !weights) {
        axis_free(made), free(weights);
        return -1;
    }
    if (out == in && start == 0 && end == (float)in) { /* nothing to do along this axis */
        for (size_t place = 0; place < out; place++)
            weights[0] = 1.0, axis_place(made, place, weights, (int)place, 1);
        free(weights);
        return 0;
    }
    for (size_t place = 0; place < out; place++) {
        double centre = start + ((double)place + 0.5) * scale;
        int from = (int)(centre - support + 0.5), to = (int)(centre + support + 0.5);
        from = from < 0 ? 0 : from;
        to = to > (int)in ? (int)in : to;
        for (int i = from; i < to; i++)
            weights[i - from] = by->weight((i - centre + 0.5) * inverse);
        axis_place(made, place, weights, from, to - from);
    }
    free(weights);
    return 0;
}

/* Between the passes: quads `base` to `filled` of the first pass's result, with space for `room` of them. */
typedef struct {
    uint8_t *quads, *strip;
    size_t stride, room, base, filled;
} work;

/* Rows of a strip: 16 of RGB, 48 of a plane. */
static size_t strip_rows(const image *from) {
    return SAMPLES / from->channels;
}

/* One strip more: the next source rows through the first pass. */
static void work_fill(work *now, const image *from, const axis *columns, const kernel *with) {
    const uint8_t *rows[SAMPLES];
    for (size_t i = 0; i < strip_rows(from); i++) {
        size_t row = now->filled * TAPS + i;
        rows[i] = from->data + (ptrdiff_t)(row < from->height ? row : from->height - 1) * from->stride;
    }
    size_t left = columns->first[0], count = columns->end > left ? columns->end - left : 0;
    uint8_t *to = now->quads + (now->filled - now->base) * now->stride;
    int plane = from->channels == 1;
    (plane ? with->regroup_plane : with->regroup)(rows, from->channels * from->width, left, count, now->strip);
    (plane ? with->across_plane : with->across)(now->strip, columns, to, now->stride);
    now->filled += strip_rows(from) / TAPS;
}

static void work_run(work *now, const image *from, const image *to, const axis *columns, const axis *rows, const kernel *with) {
    now->base = now->filled = rows->first[0];
    for (size_t y = 0; y < to->height; y++) {
        size_t first = rows->first[y], end = first + rows->groups[y];
        while (now->filled < end) {
            if (now->filled - now->base + strip_rows(from) / TAPS > now->room) { /* `first` never goes back */
                size_t kept = now->filled > first ? now->filled - first : 0;
                memmove(now->quads, now->quads + (first - now->base) * now->stride, kept * now->stride);
                now->base = first;
                now->filled = first + kept;
            }
            work_fill(now, from, columns, with);
        }
        with->down(now->quads + (first - now->base) * now->stride, now->stride, rows, y, to->channels * to->width,
                   to->data + (ptrdiff_t)y * to->stride);
    }
}

/* Both axes of a resize, ready for one kernel. */
typedef struct {
    size_t size[4]; /* width and height before and after */
    float region[4];
    const filter *by;
    const char *name; /* of the kernel they were asked for */
    kernel with;
    axis columns, rows;
} plan;

static void plan_free(plan *one) {
    axis_free(&one->columns), axis_free(&one->rows);
}

static int plan_is(const plan *one, const plan *other) {
    return !memcmp(one->size, other->size, sizeof one->size) && !memcmp(one->region, other->region, sizeof one->region)
        && one->by == other->by && one->name == other->name;
}

/* 0, or -1 when there is no memory. */
static int plan_make(plan *one, const kernel *kernels, size_t count) {
    const size_t *size = one->size;
    if (axis_make(&one->columns, size[0], size[2], one->region[0], one->region[2], one->by))
        return -1;
    if (axis_make(&one->rows, size[1], size[3], one->region[1], one->region[3], one->by)) {
        axis_free(&one->columns);
        return -1;
    }
    while (count > 1 && (kernels->limit <= one->columns.peak || kernels->limit <= one->rows.peak))
        kernels++, count--;
    one->with = *kernels;
    kernels->split(one->columns.taps, one->columns.count * one->columns.room);
    kernels->split(one->rows.taps, one->rows.count * one->rows.room);
    return 0;
}

/* The plan that was used last, for the next image of that size, as the second colour of a JPEG is. Whoever uses it takes it away
 * and brings it, or another, back. */
static plan *_Atomic kept;
enum { KEPT = 1 << 20 }; /* bytes of coefficients */

/* NULL when there is no memory. */
static plan *plan_take(const plan *wanted, const kernel *kernels, size_t count) {
    plan *one = atomic_exchange(&kept, NULL);
    if (one && plan_is(one, wanted))
        return one;
    if (one)
        plan_free(one);
    else if (!(one = malloc(sizeof *one)))
        return NULL;
    *one = *wanted;
    if (plan_make(one, kernels, count)) {
        free(one);
        return NULL;
    }
    return one;
}

static void plan_bring(plan *one) {
    size_t groups = one->columns.count * one->columns.room + one->rows.count * one->rows.room;
    plan *other = groups > KEPT / sizeof(group) ? one : atomic_exchange(&kept, one);
    if (other)
        plan_free(other), free(other);
}

/* 0, or -1 when there is no memory. */
static int resize(const image *from, const image *to, const plan *by) {
    const axis *columns = &by->columns, *rows = &by->rows;
    /* Whole blocks of 48 samples are read, and the last column is written 4 bytes too wide. */
    size_t samples = to->channels * to->width;
    work now = {.stride = (samples + SAMPLES - 1) / SAMPLES * GROUP + 64, .room = rows->room + (rows->room > 16 ? rows->room : 16)};
    size_t left = columns->first[0], wide = columns->end > left ? columns->end - left : 1;
    now.strip = wide > SIZE_MAX / GROUP ? NULL : aligned_alloc(64, wide * GROUP);
    now.quads = now.room > SIZE_MAX / now.stride ? NULL : aligned_alloc(64, now.room * now.stride);
    int failed = !now.strip || !now.quads;
    if (!failed) {
        memset(now.quads, 0, now.room * now.stride); /* blocks at the right edge are summed whole, their surplus is dropped */
        work_run(&now, from, to, columns, rows, &by->with);
    }
    free(now.strip), free(now.quads);
    return failed ? -1 : 0;
}

/* Whether the buffer is (height, width, channels) bytes, or (height, width) where there is one channel, with whole rows in one
 * piece; otherwise -1 and ValueError. */
static int image_of(const Py_buffer *view, Py_ssize_t channels, image *made) {
    int fits = view->ndim == (channels == 1 ? 2 : 3) && view->itemsize == 1 && view->shape[0] > 0 && view->shape[1] > 0;
    fits = fits && view->shape[0] < LARGEST && view->shape[1] < LARGEST;
    fits = fits && (channels == 1 || (view->shape[2] == channels && view->strides[2] == 1));
    fits = fits && (view->strides[1] == channels || view->shape[1] == 1);
    if (!fits) {
        PyErr_Format(PyExc_ValueError, "expected bytes (height, width, %zd), at least 1x1, rows in one piece", channels);
        return -1;
    }
    *made = (image){view->buf, view->strides[0], (size_t)view->shape[1], (size_t)view->shape[0], (size_t)channels};
    return 0;
}

static const filter *filter_named(const char *name) {
    for (size_t i = 0; i < sizeof FILTERS / sizeof *FILTERS; i++)
        if (!strcmp(FILTERS[i].name, name))
            return &FILTERS[i];
    PyErr_Format(PyExc_ValueError, "unknown interpolation: %s", name);
    return NULL;
}

/* Leaves in `found` the kernel of that name alone, or all of them without a name. The number of them; 0 and ValueError. */
static size_t kernels_named(const char *name, kernel *found) {
    size_t count = kernels_here(found);
    for (size_t i = 0; name && i < count; i++)
        if (!strcmp(found[i].name, name)) {
            found[0] = found[i];
            return 1;
        }
    if (!name)
        return count;
    PyErr_Format(PyExc_ValueError, "this processor has no kernel %s", name);
    return 0;
}

static PyObject *resize_views(const Py_buffer *source, const Py_buffer *target, const float *region, const char *by, const char *with) {
    image from, to;
    kernel kernels[3];
    const filter *chosen = filter_named(by);
    size_t count = kernels_named(with, kernels);
    Py_ssize_t channels = source->ndim == 2 ? 1 : 3;
    if (!chosen || !count || image_of(source, channels, &from) || image_of(target, channels, &to))
        return NULL;
    int inside = region[0] >= 0 && region[1] >= 0 && region[2] <= (float)from.width && region[3] <= (float)from.height;
    if (!inside || !(region[2] >= region[0] && region[3] >= region[1])) {
        PyErr_SetString(PyExc_ValueError, "the box must lie inside the pixels");
        return NULL;
    }
    plan wanted = {.size = {from.width, from.height, to.width, to.height}, .by = chosen, .name = with ? kernels[0].name : NULL};
    memcpy(wanted.region, region, sizeof wanted.region);
    int failed = -1;
    Py_BEGIN_ALLOW_THREADS;
    plan *one = plan_take(&wanted, kernels, count);
    if (one) {
        failed = resize(&from, &to, one);
        plan_bring(one);
    }
    Py_END_ALLOW_THREADS;
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* The buffers of two objects, the second for writing; -1 and an exception if there are none. */
static int views_of(PyObject *in, PyObject *out, Py_buffer *source, Py_buffer *target) {
    if (PyObject_GetBuffer(in, source, PyBUF_STRIDES))
        return -1;
    if (PyObject_GetBuffer(out, target, PyBUF_STRIDES | PyBUF_WRITABLE)) {
        PyBuffer_Release(source);
        return -1;
    }
    return 0;
}

static PyObject *method_resize(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *in, *out;
    float region[4];
    const char *by, *with = NULL;
    if (!PyArg_ParseTuple(args, "OO(ffff)s|z:resize", &in, &out, &region[0], &region[1], &region[2], &region[3], &by, &with))
        return NULL;
    Py_buffer source, target;
    if (views_of(in, out, &source, &target))
        return NULL;
    PyObject *result = resize_views(&source, &target, region, by, with);
    PyBuffer_Release(&source);
    PyBuffer_Release(&target);
    return result;
}

static PyObject *composite_views(const Py_buffer *source, const Py_buffer *target, const unsigned char *colour) {
    image from, to;
    if (image_of(source, 4, &from) || image_of(target, 3, &to))
        return NULL;
    if (!same_size(&from, &to)) {
        PyErr_SetString(PyExc_ValueError, "both must be of one size");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    composite(&from, &to, colour);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *method_composite(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *in, *out;
    unsigned char colour[3];
    if (!PyArg_ParseTuple(args, "OO(bbb):composite", &in, &out, &colour[0], &colour[1], &colour[2]))
        return NULL;
    Py_buffer source, target;
    if (views_of(in, out, &source, &target))
        return NULL;
    PyObject *result = composite_views(&source, &target, colour);
    PyBuffer_Release(&source);
    PyBuffer_Release(&target);
    return result;
}

static PyObject *rgb_views(const Py_buffer *views) {
    image light, blue, red, to;
    if (image_of(&views[0], 1, &light) || image_of(&views[1], 1, &blue) || image_of(&views[2], 1, &red) || image_of(&views[3], 3, &to))
        return NULL;
    if (!same_size(&light, &blue) || !same_size(&light, &red) || !same_size(&light, &to)) {
        PyErr_SetString(PyExc_ValueError, "all must be of one size");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    rgb(&light, &blue, &red, &to);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *method_rgb(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given[4];
    if (!PyArg_ParseTuple(args, "OOOO:rgb", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    Py_buffer views[4];
    PyObject *result = NULL;
    int held = 0;
    while (held < 4 && !PyObject_GetBuffer(given[held], &views[held], held == 3 ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES))
        held++;
    if (held == 4)
        result = rgb_views(views);
    while (held)
        PyBuffer_Release(&views[--held]);
    return result;
}

static PyObject *halve_views(const Py_buffer *source, const Py_buffer *target) {
    image from, to;
    if (image_of(source, 1, &from) || image_of(target, 1, &to))
        return NULL;
    if (to.width != (from.width + 1) / 2 || to.height != (from.height + 1) / 2) {
        PyErr_SetString(PyExc_ValueError, "the target must be of half the size, rounded up");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    halve(&from, &to);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *method_halve(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *in, *out;
    if (!PyArg_ParseTuple(args, "OO:halve", &in, &out))
        return NULL;
    Py_buffer source, target;
    if (views_of(in, out, &source, &target))
        return NULL;
    PyObject *result = halve_views(&source, &target);
    PyBuffer_Release(&source);
    PyBuffer_Release(&target);
    return result;
}

static PyObject *method_kernels(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    kernel found[3];
    size_t count = kernels_here(found);
    PyObject *names = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++)
        if (PyTuple_SetItem(names, (Py_ssize_t)i, PyUnicode_FromString(found[i].name)))
            Py_CLEAR(names);
    return names;
}

static PyMethodDef METHODS[] = {
    {"resize", method_resize, METH_VARARGS,
     "resize(source, target, box, interpolation, kernel=None): fill `target` with the box of `source`.\n\n"
     "Both are buffers of bytes (height, width, 3) or (height, width) that don't overlap, with any distance between rows."},
    {"composite", method_composite, METH_VARARGS,
     "composite(source, target, colour): fill `target`, bytes (height, width, 3), with `source` (height, width, 4) on a colour."},
    {"rgb", method_rgb, METH_VARARGS, "rgb(y, cb, cr, target): fill `target`, bytes (height, width, 3), with what three planes show."},
    {"halve", method_halve, METH_VARARGS, "halve(source, target): fill `target` with the means of four neighbours of a plane."},
    {"kernels", method_kernels, METH_NOARGS, "kernels(): the names of the kernels that this processor can run, the fastest first."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "_resize", .m_doc = "The compiled resize, and what is done to pixels one by one.", .m_methods = METHODS, .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__resize(void) {
    return PyModuleDef_Init(&MODULE);
}
