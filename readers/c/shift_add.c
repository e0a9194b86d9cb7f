/* Run a clustered ResNet by shifts and adds: no weight is ever multiplied by.
 *
 *     shift_add model.pwfn images.raw      images.raw: 8-bit pixels [images, channels, height, width]
 *
 * Prints JSON: the class and the logits of each image, and what was executed for one image, counted while it was executed.
 *
 * Every weight is a codebook value of at most four signed powers of two, so a product is a few shifts of the activation,
 * added up. Activations are integers with FRACTION fractional bits. What is multiplied is said in the output: BatchNorm's
 * scale, once for each output of a convolution and not once for each weight. It is not folded into the weights, which would
 * take them off the codebook. The pixels' normalization is a table of 256 entries.
 *
 * Takes timm's ResNets of basic blocks (resnet18, resnet34, with any number of blocks and channels). timm builds these with
 * eps 1e-5 in BatchNorm and a max pooling after the stem, which a state dict does not say.
 */
#include "pwfn.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRACTION 16                            /* fractional bits of an activation */
#define KEPT 20                                /* fractional bits of a sum before BatchNorm */
#define SCALE_BITS 24                          /* of BatchNorm's factor */
#define LARGEST ((int64_t)1 << 30)             /* of an activation, as an integer */
#define MOST_DIGITS 4
#define MOST_SHIFT 24
#define BATCH 32
#define EPS 1e-5

static void quit(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _Exit(2);  /* nothing is to be written or given back any more, and a leak checker has nothing to say */
}

static void *taken(size_t count, size_t element) {
    void *memory = calloc(count ? count : 1, element);
    if (!memory) quit("no memory");
    return memory;
}

/* What was executed, for all images together. */
static struct {
    unsigned long long macs, skipped, digits[MOST_DIGITS + 1];             /* products, by how many powers of two they took */
    unsigned long long shifts, adds, accumulations;
    unsigned long long batchnorm_multiplications, batchnorm_adds, rescaling_shifts, bias_adds, residual_adds, pooling_adds, divisions, comparisons;
} count;

/* The codebook as signed powers of two -------------------------------------------------------------------------------- */

typedef struct {
    int digits;
    int negative;                              /* the sign of the first power; those after it are relative to it */
    int shift[MOST_DIGITS], minus[MOST_DIGITS];
    double magnitude;                          /* in units of the smallest power, to bound sums by */
} entry;

static entry *entries;
static size_t entry_count;
static int lowest = 1000;                      /* exponent of the smallest power of two in any entry */

/* A finite float32 number as significand * 2^exponent. */
static uint32_t parts_of(float value, int *exponent) {
    uint32_t bits, significand;
    memcpy(&bits, &value, sizeof bits);
    *exponent = (int)(bits >> 23 & 0xff);
    significand = bits & 0x7fffff;
    if (*exponent) significand |= 0x800000;
    else *exponent = 1;
    *exponent -= 150;
    return significand;
}

/* The non-adjacent form: the fewest signed powers of two that a value is made of (Reitwiesner 1960). */
static void to_digits(float value, entry *one) {
    int exponent;
    uint32_t number = parts_of(value, &exponent);
    for (int sign = value < 0; number; number >>= 1, exponent++) {
        if (!(number & 1)) continue;
        int minus = (number & 3) == 3;
        if (one->digits == MOST_DIGITS) quit("the codebook value %.9g has more than %d powers of two: it would stay a multiplication", (double)value, MOST_DIGITS);
        if (!one->digits) one->negative = sign ^ minus;
        one->shift[one->digits] = exponent;
        one->minus[one->digits++] = (sign ^ minus) != one->negative;
        if (exponent < lowest) lowest = exponent;
        number += minus ? 1 : (uint32_t)-1;
    }
}

static void read_codebook(const pwfn_file *file) {
    const float *values;
    entry_count = pwfn_codebook(file, &values);
    entries = taken(entry_count, sizeof *entries);
    for (size_t i = 0; i < entry_count; i++) to_digits(values[i], entries + i);
    for (size_t i = 0; i < entry_count; i++) {
        for (int d = 0; d < entries[i].digits; d++)
            if ((entries[i].shift[d] -= lowest) > MOST_SHIFT) quit("the codebook spans more than %d powers of two", MOST_SHIFT);
        entries[i].magnitude = fabs(ldexp((double)values[i], -lowest));
    }
}

/* The network's tensors -------------------------------------------------------------------------------------------------- */

typedef struct {
    const pwfn_tensor *tensor;
    uint16_t *indices;
    int used;
} weights;

static weights *coded;
static size_t coded_count;
static const pwfn_tensor *others;
static size_t other_count;

static int keep(void *context, const pwfn_tensor *tensor, const uint16_t *indices, const float *values, const float *sigmas) {
    size_t size = (size_t)tensor->size;
    (void)context, (void)values, (void)sigmas;
    if (tensor->free) quit("%s has %llu weights that are in no codebook", tensor->names[0], (unsigned long long)tensor->free);
    coded[coded_count].tensor = tensor;
    coded[coded_count].indices = taken(size, sizeof *indices);
    memcpy(coded[coded_count++].indices, indices, size * sizeof *indices);
    return 1;
}

static int named(const pwfn_tensor *tensor, const char *prefix, const char *name) {
    size_t length = strlen(prefix);
    return !strncmp(tensor->names[0], prefix, length) && !strcmp(tensor->names[0] + length, name);
}

static weights *find(const char *prefix, const char *name) {
    for (size_t i = 0; i < coded_count; i++)
        if (named(coded[i].tensor, prefix, name)) return coded[i].used = 1, coded + i;
    return NULL;
}

static weights *need(const char *prefix, const char *name, size_t dimensions) {
    weights *found = find(prefix, name);
    if (!found || found->tensor->dimensions != dimensions) quit("%s%s is missing: not a ResNet of basic blocks", prefix, name);
    return found;
}

/* A little-endian number of one of the two floating-point types that a file may hold here. */
static double number(const char *dtype, const unsigned char *at) {
    if (!strcmp(dtype, "F16")) {
        unsigned bits = at[0] | (unsigned)at[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
        double size = exponent ? ldexp(1024.0 + fraction, (int)exponent - 25) : ldexp(fraction, -24);
        return bits >> 15 ? -size : size;
    }
    uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static double floating(const char *prefix, const char *name, size_t channel, size_t channels) {
    for (size_t i = 0; i < other_count; i++) {
        if (!named(others + i, prefix, name)) continue;
        size_t bytes = !strcmp(others[i].dtype, "F32") ? 4 : !strcmp(others[i].dtype, "F16") ? 2 : 0;
        if (!bytes || others[i].size != channels) break;
        return number(others[i].dtype, others[i].bytes + bytes * channel);
    }
    quit("%s%s is missing: not a ResNet of basic blocks", prefix, name);
    return 0;
}

/* Activations: [channels, height, width, images] ------------------------------------------------------------------------- */

typedef struct {
    size_t channels, height, width, images;
    int32_t *at;
} maps;

static maps new_maps(size_t channels, size_t height, size_t width, size_t images) {
    maps result = {channels, height, width, images, taken(channels * height * width * images, sizeof(int32_t))};
    return result;
}

static int32_t *cell(const maps *of, size_t channel, size_t y, size_t x) {
    return of->at + ((channel * of->height + y) * of->width + x) * of->images;
}

static size_t cells(const maps *of) { return of->channels * of->height * of->width * of->images; }

static int32_t bounded(int64_t value) { return (int32_t)(value > LARGEST ? LARGEST : value < -LARGEST ? -LARGEST : value); }

/* value / 2^by, rounded; a left shift where `by` is negative. */
static int64_t shifted(int64_t value, int by) {
    if (by <= 0) return (int64_t)((uint64_t)value << -by);
    if (by > 62) return 0;
    int64_t half = (int64_t)1 << (by - 1);
    return value >= 0 ? (value + half) >> by : -((-value + half) >> by);
}

static maps padded(const maps *in, size_t padding, int32_t with) {
    maps out = new_maps(in->channels, in->height + 2 * padding, in->width + 2 * padding, in->images);
    for (size_t i = 0; with && i < cells(&out); i++) out.at[i] = with;
    for (size_t c = 0; c < in->channels; c++)
        for (size_t y = 0; y < in->height; y++)
            memcpy(cell(&out, c, y + padding, padding), cell(in, c, y, 0), in->width * in->images * sizeof *in->at);
    return out;
}

/* sums += weight * activations, by shifts and adds. Sums are integers modulo 2^64, so that a shift of a negative number is
 * defined; no sum leaves the range of int64, see check_sum(). */
static void accumulate(uint64_t *restrict sums, const int32_t *restrict x, size_t length, const entry *w) {
    const int a = w->shift[0], b = w->shift[1], c = w->shift[2], d = w->shift[3];
    count.macs += length;
    count.digits[w->digits] += length;
    if (!w->digits) {
        count.skipped += length;
        return;
    }
    count.shifts += length * (unsigned)w->digits;
    count.adds += length * (unsigned)(w->digits - 1);
    count.accumulations += length;
#define EXTENDED ((uint64_t)(int64_t)x[i])
#define EACH(PRODUCT) \
    if (w->negative) \
        for (size_t i = 0; i < length; i++) sums[i] -= PRODUCT; \
    else \
        for (size_t i = 0; i < length; i++) sums[i] += PRODUCT
#define SIGNED(K, SHIFT) (w->minus[K] ? -(EXTENDED << SHIFT) : EXTENDED << SHIFT)
    if (w->digits == 1) {
        EACH((EXTENDED << a));
    } else if (w->digits == 2 && w->minus[1]) {
        EACH(((EXTENDED << a) - (EXTENDED << b)));
    } else if (w->digits == 2) {
        EACH(((EXTENDED << a) + (EXTENDED << b)));
    } else if (w->digits == 3) {
        EACH(((EXTENDED << a) + SIGNED(1, b) + SIGNED(2, c)));
    } else {
        EACH(((EXTENDED << a) + SIGNED(1, b) + SIGNED(2, c) + SIGNED(3, d)));
    }
}

/* Refuse weights whose products could add up to what int64 cannot hold, whatever the activations are. */
static void check_sum(const char *name, const uint16_t *index, size_t products) {
    double bound = 0;
    for (size_t i = 0; i < products; i++) bound += entries[index[i]].magnitude;
    if (bound * (double)LARGEST > 9e18) quit("%s could overflow 64 bits", name);
}

/* BatchNorm of one channel: y = factor * 2^-bits * sum + offset. */
typedef struct {
    int64_t factor, offset;
    int bits;
} scaling;

static scaling batchnorm(const char *prefix, size_t channel, size_t channels) {
    double gamma = floating(prefix, ".weight", channel, channels), beta = floating(prefix, ".bias", channel, channels);
    double mean = floating(prefix, ".running_mean", channel, channels), variance = floating(prefix, ".running_var", channel, channels);
    double factor = gamma / sqrt(variance + EPS), offset = ldexp(beta - mean * factor, FRACTION);
    scaling result;
    int exponent;
    /* also for what is no number; a sum of 37 bits times a factor of 24, plus the offset, then fits 63 bits */
    if (!(fabs(factor) < ldexp(1, SCALE_BITS - 1 + KEPT - FRACTION)) || !(fabs(offset) < ldexp(1, 61)))
        quit("%s scales or shifts by more than its fixed point can hold", prefix);
    frexp(factor, &exponent);
    result.bits = SCALE_BITS - 1 - exponent;
    result.factor = llrint(ldexp(factor, result.bits));
    result.offset = llrint(offset);
    return result;
}

/* A convolution and its BatchNorm. */
static maps convolved(const maps *in, const char *conv, const char *norm, size_t stride, size_t padding) {
    const weights *w = need(conv, ".weight", 4);
    const uint64_t *shape = w->tensor->shape;
    size_t side = (size_t)shape[2], per_output = (size_t)(shape[1] * shape[2] * shape[3]);
    if (shape[1] != in->channels || shape[3] != side || in->height + 2 * padding < side || in->width + 2 * padding < side)
        quit("%s does not fit what it is given", conv);
    maps wide = padded(in, padding, 0), out = new_maps((size_t)shape[0], (wide.height - side) / stride + 1, (wide.width - side) / stride + 1, in->images);
    size_t plane = out.height * out.width * out.images;
    uint64_t *sums = taken(plane, sizeof *sums);
    for (size_t o = 0; o < out.channels; o++) {
        const uint16_t *index = w->indices + o * per_output;
        check_sum(conv, index, per_output);
        memset(sums, 0, plane * sizeof *sums);
        for (size_t c = 0; c < in->channels; c++)
            for (size_t y = 0; y < side; y++)
                for (size_t x = 0; x < side; x++, index++)
                    for (size_t row = 0; row < out.height; row++) {
                        uint64_t *to = sums + row * out.width * out.images;
                        if (stride == 1) {
                            accumulate(to, cell(&wide, c, row + y, x), out.width * out.images, entries + *index);
                            continue;
                        }
                        for (size_t column = 0; column < out.width; column++)
                            accumulate(to + column * out.images, cell(&wide, c, row * stride + y, column * stride + x), out.images, entries + *index);
                    }
        scaling bn = batchnorm(norm, o, out.channels);
        int32_t *to = cell(&out, o, 0, 0);
        for (size_t i = 0; i < plane; i++) {
            int64_t sum = shifted((int64_t)sums[i], FRACTION - lowest - KEPT), limit = (int64_t)1 << 37;
            if (sum > limit || sum < -limit) quit("%s leaves the range of its fixed point", conv);
            to[i] = bounded(shifted(sum * bn.factor, bn.bits + KEPT - FRACTION) + bn.offset);
        }
        count.rescaling_shifts += 2 * plane;
        count.batchnorm_multiplications += plane;
        count.batchnorm_adds += plane;
    }
    free(sums);
    free(wide.at);
    return out;
}

static void relu(maps *of) {
    for (size_t i = 0; i < cells(of); i++)
        if (of->at[i] < 0) of->at[i] = 0;
    count.comparisons += cells(of);
}

/* The largest of 3 x 3, with stride 2 and padding 1. */
static maps max_pooled(const maps *in) {
    maps wide = padded(in, 1, INT32_MIN), out = new_maps(in->channels, (in->height - 1) / 2 + 1, (in->width - 1) / 2 + 1, in->images);
    for (size_t c = 0; c < out.channels; c++)
        for (size_t y = 0; y < out.height; y++)
            for (size_t x = 0; x < out.width; x++)
                for (size_t n = 0; n < out.images; n++) {
                    int32_t most = INT32_MIN;
                    for (size_t k = 0; k < 9; k++) {
                        int32_t one = cell(&wide, c, 2 * y + k / 3, 2 * x + k % 3)[n];
                        if (one > most) most = one;
                    }
                    cell(&out, c, y, x)[n] = most;
                }
    count.comparisons += 9 * cells(&out);
    free(wide.at);
    return out;
}

static maps basic_block(const maps *in, const char *name, size_t stride) {
    char conv[64], norm[64];
    snprintf(conv, sizeof conv, "%s.conv1", name);
    snprintf(norm, sizeof norm, "%s.bn1", name);
    maps middle = convolved(in, conv, norm, stride, 1);
    relu(&middle);
    snprintf(conv, sizeof conv, "%s.conv2", name);
    snprintf(norm, sizeof norm, "%s.bn2", name);
    maps out = convolved(&middle, conv, norm, 1, 1), shortcut = *in;
    snprintf(conv, sizeof conv, "%s.downsample.0", name);
    snprintf(norm, sizeof norm, "%s.downsample.1", name);
    int projected = find(conv, ".weight") != NULL;
    if (projected) shortcut = convolved(in, conv, norm, stride, 0);
    if (cells(&shortcut) != cells(&out)) quit("%s adds maps of two sizes", name);
    for (size_t i = 0; i < cells(&out); i++) out.at[i] = bounded((int64_t)out.at[i] + shortcut.at[i]);
    count.residual_adds += cells(&out);
    relu(&out);
    free(middle.at);
    if (projected) free(shortcut.at);
    return out;
}

/* The mean over all places: [channels, 1, 1, images]. */
static maps average_pooled(const maps *in) {
    maps out = new_maps(in->channels, 1, 1, in->images);
    int64_t places = (int64_t)(in->height * in->width);
    for (size_t c = 0; c < in->channels; c++)
        for (size_t n = 0; n < in->images; n++) {
            int64_t sum = 0;
            for (size_t i = 0; i < (size_t)places; i++) sum += cell(in, c, 0, 0)[i * in->images + n];
            cell(&out, c, 0, 0)[n] = (int32_t)(places == 1 ? sum : llrint((double)sum / (double)places));
        }
    if (places > 1) {
        count.pooling_adds += cells(in);
        count.divisions += cells(&out);
    }
    return out;
}

/* The linear layer; logits [images, classes] as real numbers. */
static void classified(const maps *in, double *logits, size_t classes) {
    const weights *w = need("fc", ".weight", 2), *bias = find("fc", ".bias");
    uint64_t *sums = taken(in->images, sizeof *sums);
    if (w->tensor->shape[0] != classes || w->tensor->shape[1] != in->channels || (bias && bias->tensor->size != classes)) quit("fc does not fit what it is given");
    for (size_t o = 0; o < classes; o++) {
        check_sum("fc", w->indices + o * in->channels, in->channels);
        memset(sums, 0, in->images * sizeof *sums);
        for (size_t c = 0; c < in->channels; c++) accumulate(sums, cell(in, c, 0, 0), in->images, entries + w->indices[o * in->channels + c]);
        uint64_t constant = 0;  /* the bias, known before any image is */
        if (bias) {
            const entry *b = entries + bias->indices[o];
            for (int k = 0; k < b->digits; k++) constant += (uint64_t)(b->minus[k] ? -1 : 1) << (b->shift[k] + FRACTION);
            if (b->negative) constant = 0 - constant;
        } else {
            double value = ldexp(floating("fc", ".bias", o, classes), FRACTION - lowest);
            if (!(fabs(value) < 1e17)) quit("fc.bias is more than its fixed point can hold");
            constant = (uint64_t)llrint(value);
        }
        for (size_t n = 0; n < in->images; n++) sums[n] += constant;
        count.bias_adds += in->images;
        for (size_t n = 0; n < in->images; n++) logits[n * classes + o] = ldexp((double)(int64_t)sums[n], lowest - FRACTION);
    }
    free(sums);
}

/* From pixels to logits ---------------------------------------------------------------------------------------------------- */

static maps normalized(const pwfn_data *data, const unsigned char *pixels, size_t images) {
    maps out = new_maps(data->channels, data->height, data->width, images);
    size_t plane = (size_t)data->height * data->width;
    for (size_t c = 0; c < out.channels; c++) {
        int32_t value[256];
        for (int p = 0; p < 256; p++) {
            double activation = ldexp((p / 255.0 - data->mean[c]) / data->std[c], FRACTION);
            if (!(fabs(activation) <= (double)LARGEST)) quit("the mean and std of the images make more of a pixel than the fixed point can hold");
            value[p] = (int32_t)llrint(activation);
        }
        for (size_t n = 0; n < images; n++)
            for (size_t i = 0; i < plane; i++) cell(&out, c, 0, 0)[i * images + n] = value[pixels[(n * out.channels + c) * plane + i]];
    }
    return out;
}

static void forward(const pwfn_data *data, const unsigned char *pixels, size_t images, double *logits, size_t classes) {
    char name[32];
    maps at = normalized(data, pixels, images), old = at;
    at = convolved(&old, "conv1", "bn1", 2, 3);
    free(old.at);
    relu(&at);
    old = at;
    at = max_pooled(&old);
    free(old.at);
    for (int layer = 1; layer <= 4; layer++)
        for (int block = 0;; block++) {
            snprintf(name, sizeof name, "layer%d.%d", layer, block);
            if (!find(name, ".conv1.weight")) break;
            old = at;
            at = basic_block(&old, name, layer > 1 && block == 0 ? 2 : 1);
            free(old.at);
        }
    old = at;
    at = average_pooled(&old);
    free(old.at);
    classified(&at, logits, classes);
    free(at.at);
    for (size_t i = 0; i < coded_count; i++)
        if (!coded[i].used) quit("%s is not of a ResNet of basic blocks", coded[i].tensor->names[0]);
}

static unsigned char *read_images(const char *path, size_t bytes, size_t *images) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) quit("%s cannot be read", path);
    long size = ftell(file);
    *images = size > 0 ? (size_t)size / bytes : 0;
    if (!*images || (size_t)size % bytes) quit("%s has not a whole number of images of %lu bytes", path, (unsigned long)bytes);
    unsigned char *pixels = taken((size_t)size, 1);
    rewind(file);
    if (fread(pixels, 1, (size_t)size, file) != (size_t)size) quit("%s cannot be read", path);
    fclose(file);
    return pixels;
}

static void print_results(const double *logits, size_t images, size_t classes) {
    printf("{\"classes\": [");
    for (size_t n = 0; n < images; n++) {
        size_t best = 0;
        for (size_t o = 1; o < classes; o++)
            if (logits[n * classes + o] > logits[n * classes + best]) best = o;
        printf("%s%lu", n ? ", " : "", (unsigned long)best);
    }
    printf("],\n\"logits\": [");
    for (size_t n = 0; n < images; n++)
        for (size_t o = 0; o < classes; o++) printf("%s%.9g%s", o ? ", " : n ? ",\n[" : "[", logits[n * classes + o], o + 1 < classes ? "" : "]");
    printf("],\n\"per_image\": {");
    const struct { const char *name; unsigned long long number; } all[] = {
        {"macs", count.macs}, {"skipped", count.skipped}, {"one", count.digits[1]}, {"two", count.digits[2]}, {"three", count.digits[3]},
        {"four", count.digits[4]}, {"shifts", count.shifts}, {"adds", count.adds}, {"accumulations", count.accumulations},
        {"weight_multiplications", 0}, {"batchnorm_multiplications", count.batchnorm_multiplications}, {"batchnorm_adds", count.batchnorm_adds},
        {"rescaling_shifts", count.rescaling_shifts}, {"bias_adds", count.bias_adds}, {"residual_adds", count.residual_adds},
        {"pooling_adds", count.pooling_adds}, {"divisions", count.divisions}, {"comparisons", count.comparisons}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) printf("%s\"%s\": %llu", i ? ", " : "", all[i].name, all[i].number / images);
    puts("}}");
    if (fflush(stdout) || ferror(stdout)) quit("the output cannot be written");
}

int main(int argc, char **argv) {
    char error[PWFN_ERROR];
    size_t images;
    if (argc != 3) quit("usage: shift_add model.pwfn images.raw (8-bit pixels [images, channels, height, width])");
    pwfn_file *file = pwfn_open(argv[1], PWFN_MOST_WEIGHTS, error);
    if (!file) quit("%s: %s", argv[1], error);
    coded = taken(pwfn_weights(file, NULL), sizeof *coded);
    other_count = pwfn_others(file, &others);
    if (!pwfn_decode(file, keep, NULL, error)) quit("%s: %s", argv[1], error);
    read_codebook(file);
    const pwfn_data *data = pwfn_preprocessing(file);
    if (!data->channels || data->mean_count != data->channels || data->std_count != data->channels) quit("the file does not say which images its network takes");
    size_t bytes = (size_t)data->channels * data->height * data->width, classes = (size_t)need("fc", ".weight", 2)->tensor->shape[0];
    unsigned char *pixels = read_images(argv[2], bytes, &images);
    double *logits = taken(images * classes, sizeof *logits);
    for (size_t n = 0; n < images; n += BATCH) forward(data, pixels + n * bytes, images - n < BATCH ? images - n : BATCH, logits + n * classes, classes);
    print_results(logits, images, classes);
    for (size_t i = 0; i < coded_count; i++) free(coded[i].indices);
    free(coded);
    free(entries);
    free(pixels);
    free(logits);
    pwfn_close(file);
    return 0;
}
