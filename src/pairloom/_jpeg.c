/* A JPEG as the planes that it holds: lightness, and two colours that may be smaller. They come from libjpeg-turbo, from the
 * copy that Pillow brings along: it is asked for by name at run time, so nothing is linked and no second copy installed.
 *
 * Whatever isn't a clean file is left to others: at the first warning it is given up. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <string.h>

#include "_libjpeg.h"

enum { PARTS = 3, MOST_ROWS = 2 * 8 }; /* rows of a plane that are decoded at a time */

static struct {
    errors *(*errors)(errors *);
    void (*create)(decompress *, int version, size_t size);
    void (*source)(decompress *, const unsigned char *, unsigned long);
    int (*header)(decompress *, int must_have_image);
    int (*start)(decompress *);
    unsigned (*rows)(decompress *, uint8_t ***, unsigned most);
    int (*finish)(decompress *);
    void (*destroy)(decompress *);
} library;

typedef struct {
    errors base; /* the library sees this alone */
    jmp_buf back;
} trap;

static void stop(void *one) {
    longjmp(((trap *)(void *)((decompress *)one)->errors)->back, 1);
}

static void message(void *one, int level) {
    if (level < 0)
        stop(one);
}

static void show_nothing(void *one) {
    (void)one;
}

static void prepare(decompress *one, trap *by) {
    memset(one, 0, sizeof *one);
    one->errors = library.errors(&by->base);
    by->base.stop = stop;
    by->base.message = message;
    by->base.show = show_nothing;
}

/* Whether the library is of the version that we know. */
static int fits(void) {
    decompress one;
    trap by;
    prepare(&one, &by);
    if (setjmp(by.back))
        return 0;
    library.create(&one, LIBJPEG, sizeof one);
    library.destroy(&one);
    return 1;
}

/* Why a file is not decoded: because of itself, or because of the planes to fill. */
typedef enum { DONE, UNFIT_FILE, UNFIT_PLANES } outcome;

static int plane_fits(const component *part, const Py_buffer *plane) {
    size_t across = (size_t)part->blocks_across * (size_t)part->side;
    size_t rows = (size_t)part->down * (size_t)part->side; /* whole rows of blocks are written, as many as are decoded at a time */
    size_t down = ((size_t)part->height + rows - 1) / rows * rows;
    return plane->ndim == 2 && plane->itemsize == 1 && plane->strides[1] == 1 && plane->strides[0] >= plane->shape[1]
        && (size_t)plane->shape[1] >= across && (size_t)plane->shape[0] >= down;
}

static outcome decode(const Py_buffer *data, unsigned shrink, const Py_buffer *planes) {
    decompress one;
    trap by;
    prepare(&one, &by);
    if (setjmp(by.back)) {
        library.destroy(&one);
        return UNFIT_FILE;
    }
    library.create(&one, LIBJPEG, sizeof one);
    library.source(&one, data->buf, (unsigned long)data->len);
    library.header(&one, 1);
    int usual = one.parts == PARTS && one.space == YCC && one.precision == 8;
    for (int i = 0; usual && i < PARTS; i++)
        usual = one.components[i].across <= 2 && one.components[i].down <= 2;
    if (!usual) {
        library.destroy(&one);
        return UNFIT_FILE;
    }
    one.space_wanted = YCC;
    one.raw = 1;
    one.scale = 1;
    one.scale_of = shrink;
    library.start(&one);
    for (int i = 0; i < PARTS; i++)
        if (one.components[i].side < 1 || one.components[i].side > 8 || !plane_fits(&one.components[i], &planes[i])) {
            library.destroy(&one);
            return UNFIT_PLANES;
        }
    uint8_t *rows[PARTS][MOST_ROWS], **parts[PARTS] = {rows[0], rows[1], rows[2]};
    for (size_t turn = 0; one.row < one.height_made; turn++) {
        for (int i = 0; i < PARTS; i++) {
            size_t count = (size_t)(one.components[i].down * one.components[i].side);
            for (size_t row = 0; row < count; row++)
                rows[i][row] = (uint8_t *)planes[i].buf + (Py_ssize_t)(turn * count + row) * planes[i].strides[0];
        }
        library.rows(&one, parts, (unsigned)(one.most_down * one.side));
    }
    library.finish(&one);
    library.destroy(&one);
    return DONE;
}

static PyObject *method_decode(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given[1 + PARTS];
    unsigned shrink;
    if (!PyArg_ParseTuple(args, "OIOOO:decode", &given[0], &shrink, &given[1], &given[2], &given[3]))
        return NULL;
    if (!library.destroy || (shrink != 1 && shrink != 2 && shrink != 4 && shrink != 8)) {
        PyErr_SetString(PyExc_ValueError, library.destroy ? "`shrink` must be 1, 2, 4 or 8" : "no library was loaded");
        return NULL;
    }
    Py_buffer views[1 + PARTS];
    int held = 0;
    while (held <= PARTS && !PyObject_GetBuffer(given[held], &views[held], held ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_SIMPLE))
        held++;
    outcome how = UNFIT_PLANES;
    if (held > PARTS) {
        Py_BEGIN_ALLOW_THREADS;
        how = decode(&views[0], shrink, views + 1);
        Py_END_ALLOW_THREADS;
        if (how == UNFIT_PLANES)
            PyErr_SetString(PyExc_ValueError, "the planes are too small for the blocks of the image, or their rows not in one piece");
    }
    while (held)
        PyBuffer_Release(&views[--held]);
    return how == UNFIT_PLANES ? NULL : PyBool_FromLong(how == DONE);
}

static PyObject *method_load(PyObject *self, PyObject *args) {
    (void)self;
    const char *path;
    if (!PyArg_ParseTuple(args, "s:load", &path))
        return NULL;
    const char *names[] = {"jpeg_std_error", "jpeg_CreateDecompress", "jpeg_mem_src", "jpeg_read_header", "jpeg_start_decompress",
                           "jpeg_read_raw_data", "jpeg_finish_decompress", "jpeg_destroy_decompress"};
    void *found[sizeof names / sizeof *names], *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int all = file != NULL && sizeof found == sizeof library;
    for (size_t i = 0; all && i < sizeof names / sizeof *names; i++)
        all = (found[i] = dlsym(file, names[i])) != NULL; /* in the file, or in a library that it needs */
    if (all)
        memcpy(&library, found, sizeof library);
    if (all && !fits()) {
        memset(&library, 0, sizeof library);
        all = 0;
    }
    return PyBool_FromLong(all);
}

static PyMethodDef METHODS[] = {
    {"load", method_load, METH_VARARGS,
     "load(path): take libjpeg from that file, or from what it is linked with; whether it is of the version that is known here."},
    {"decode", method_decode, METH_VARARGS,
     "decode(data, shrink, y, cb, cr): fill three planes, bytes (height, width) with room for whole blocks, with a JPEG at\n"
     "1/`shrink`. False if it is not a clean file in YCbCr."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "_jpeg", .m_doc = "The planes of a JPEG.", .m_methods = METHODS, .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__jpeg(void) {
    return PyModuleDef_Init(&MODULE);
}
