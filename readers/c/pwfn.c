/* Read `model.pwfn`; see pwfn.h for how to use it and docs/artifact.md for the format. */
#include "pwfn.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PREAMBLE 52
#define DIGEST 32
#define MOST_HEADER ((size_t)8 << 20)
#define MOST_ENTRIES 65535
#define MOST_TABLES 65536
#define MOST_SIZE ((uint64_t)1 << 40)          /* of weights, and of every size that a header names */
#define MOST_DEPTH 200                         /* of nested JSON */
#define MOST_DIGITS 4300                       /* of a JSON number */
#define ZLIB_RATIO 1032                        /* DEFLATE cannot shrink anything further */
#define PRECISION 24

static int fail(char *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, PWFN_ERROR, format, arguments);
    va_end(arguments);
    return 0;
}

/* An array of `count` elements, never NULL for 0 of them. */
static void *array(uint64_t count, size_t element) {
    if (count >= SIZE_MAX / 2 / element) return NULL;
    return calloc((size_t)count + 1, element);
}

static uint32_t little32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* SHA-256 (FIPS 180-4) ------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
} sha256;

static const uint32_t SHA_ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha_block(sha256 *sha, const unsigned char *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(s, sha->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + SHA_ROUND[i] + w[i];
        uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) sha->state[i] += s[i];
}

static void sha_start(sha256 *sha) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->length = 0;
}

static void sha_add(sha256 *sha, const unsigned char *bytes, size_t count) {
    size_t held = (size_t)(sha->length % 64);
    sha->length += count;
    if (held && held + count >= 64) {
        memcpy(sha->block + held, bytes, 64 - held);
        sha_block(sha, sha->block);
        bytes += 64 - held;
        count -= 64 - held;
        held = 0;
    }
    for (; !held && count >= 64; bytes += 64, count -= 64) sha_block(sha, bytes);
    if (count) memcpy(sha->block + held, bytes, count);
}

static void sha_finish(sha256 *sha, unsigned char digest[DIGEST]) {
    uint64_t bits = 8 * sha->length;
    unsigned char end[72] = {0x80};
    size_t padding = 64 - (size_t)((sha->length + 8) % 64);
    for (int i = 0; i < 8; i++) end[padding + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    sha_add(sha, end, padding + 8);
    for (int i = 0; i < DIGEST; i++) digest[i] = (unsigned char)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

static int has_digest(const unsigned char *bytes, size_t count, const unsigned char *wanted) {
    unsigned char found[DIGEST];
    sha256 sha;
    sha_start(&sha);
    sha_add(&sha, bytes, count);
    sha_finish(&sha, found);
    return memcmp(found, wanted, DIGEST) == 0;
}

/* zlib ------------------------------------------------------------------------------------------------------------ */

/* Inflate to exactly `size` bytes with a NUL after them; the caller frees. */
static unsigned char *inflated(const unsigned char *content, uint64_t stored, uint64_t size, const char *what, char *error) {
    z_stream stream;
    unsigned char *result = NULL;
    if (stored > UINT32_MAX / 2 || size > UINT32_MAX / 2) return fail(error, "%s is larger than this reader takes", what), NULL;
    if (!(result = array(size, 1))) return fail(error, "no memory for %s", what), NULL;
    memset(&stream, 0, sizeof stream);
    if (inflateInit(&stream) != Z_OK) return free(result), fail(error, "no memory for zlib"), NULL;
    stream.next_in = (Bytef *)content;  /* zlib does not write to it; its type is older than const */
    stream.avail_in = (uInt)stored;
    stream.next_out = result;
    stream.avail_out = (uInt)size;
    int end = inflate(&stream, Z_FINISH);
    int right = end == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
    inflateEnd(&stream);
    if (right) return result;
    free(result);
    return fail(error, "%s does not decompress to the bytes it should have", what), NULL;
}

/* JSON: checked once from end to end, then walked by pointers into its text ------------------------------------------ */

static const char *blank(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
    return at;
}

static int hex4(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Each check_... returns what comes after, or NULL where the text is not JSON. A NUL ends the text, and is never JSON. */
static const char *check_string(const char *at) {
    if (*at++ != '"') return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) return NULL;  /* the format is ASCII */
        if (*at != '\\') continue;
        at++;
        if (*at != 'u') {
            if (*at == 0 || !strchr("\"\\/bfnrt", *at)) return NULL;
            continue;
        }
        int code = hex4(at + 1);
        if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return NULL;
        at += 4;
        if (code >= 0xd800 && code < 0xdc00) {
            if (at[1] != '\\' || at[2] != 'u') return NULL;
            code = hex4(at + 3);
            if (code < 0xdc00 || code >= 0xe000) return NULL;
            at += 6;
        }
    }
    return at + 1;
}

static const char *check_digits(const char *at) {
    if (*at < '0' || *at > '9') return NULL;
    while (*at >= '0' && *at <= '9') at++;
    return at;
}

static const char *check_number(const char *at) {
    const char *start = at;
    if (*at == '-') at++;
    at = *at == '0' ? at + 1 : check_digits(at);
    if (at && *at == '.') at = check_digits(at + 1);
    if (at && (*at == 'e' || *at == 'E')) {
        at++;
        if (*at == '+' || *at == '-') at++;
        at = check_digits(at);
    }
    return at && at - start <= MOST_DIGITS ? at : NULL;
}

static const char *check_value(const char *at, int depth) {
    static const char *const words[] = {"null", "true", "false"};
    at = blank(at);
    if (*at == '"') return check_string(at);
    for (int i = 0; i < 3; i++)
        if (!strncmp(at, words[i], strlen(words[i]))) return at + strlen(words[i]);
    if (*at != '{' && *at != '[') return check_number(at);
    char open = *at, end = open == '{' ? '}' : ']';
    if (depth == MOST_DEPTH) return NULL;
    at = blank(at + 1);
    if (*at == end) return at + 1;
    for (;;) {
        if (open == '{') {
            if (!(at = check_string(blank(at)))) return NULL;
            at = blank(at);
            if (*at++ != ':') return NULL;
        }
        if (!(at = check_value(at, depth + 1))) return NULL;
        at = blank(at);
        if (*at == end) return at + 1;
        if (*at++ != ',') return NULL;
    }
}

/* What comes after a value of checked text. */
static const char *after(const char *at) {
    int depth = 0;
    do {
        at = blank(at);
        if (*at == '"') {
            for (at++; *at != '"'; at++) at += *at == '\\';
            at++;
        } else if (*at == '{' || *at == '[') {
            depth++, at++;
        } else if (*at == '}' || *at == ']') {
            depth--, at++;
        } else if (*at == ',' || *at == ':') {
            at++;
        } else {
            while (*at && !strchr(",:]} \t\r\n", *at)) at++;
        }
    } while (depth);
    return at;
}

/* The first element of an array or key of an object, and the one after it; NULL after the last. */
static const char *first(const char *at) {
    at = blank(at + 1);
    return *at == ']' || *at == '}' ? NULL : at;
}

static const char *next(const char *at) {
    at = blank(after(at));
    return *at == ',' ? blank(at + 1) : NULL;
}

static const char *value_of(const char *key) { return blank(blank(after(key)) + 1); }

static size_t length_of(const char *list) {
    size_t count = 0;
    for (const char *at = first(list); at; at = next(at)) count++;
    return count;
}

static int is_null(const char *at) { return !at || *at == 'n'; }

static int is_text(const char *at, const char *wanted) {
    size_t length = strlen(wanted);
    return *at == '"' && !strncmp(at + 1, wanted, length) && at[length + 1] == '"';
}

/* The values of an object's `count` keys; NULL for a key that is not there. 0 for another key or one that occurs twice. */
static int members(const char *object, const char *const *keys, const char **values, size_t count) {
    memset(values, 0, count * sizeof *values);
    if (*object != '{') return 0;
    for (const char *key = first(object); key;) {
        size_t i = 0;
        while (i < count && !is_text(key, keys[i])) i++;
        if (i == count || values[i]) return 0;
        values[i] = value_of(key);
        key = next(values[i]);
    }
    return 1;
}

static int all_there(const char *const *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!values[i]) return 0;
    return 1;
}

static int integer(const char *at, int64_t least, int64_t most, int64_t *result) {
    const uint64_t limit = (uint64_t)1 << 60;  /* ten times it fits 64 bits */
    uint64_t number = 0;
    int negative = *at == '-';
    at += negative;
    if (*at < '0' || *at > '9') return 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if ((number = number * 10 + (uint64_t)(*at - '0')) > limit) return 0;
    if (*at == '.' || *at == 'e' || *at == 'E') return 0;
    *result = negative ? -(int64_t)number : (int64_t)number;
    return *result >= least && *result <= most;
}

static int natural(const char *at, uint64_t most, uint64_t *result) {
    int64_t number;
    if (!integer(at, 0, (int64_t)most, &number)) return 0;
    *result = (uint64_t)number;
    return 1;
}

/* A finite number. In a program that called setlocale, LC_NUMERIC must be one with a decimal point. */
static int real(const char *at, double *result) {
    if (*at != '-' && (*at < '0' || *at > '9')) return 0;
    *result = strtod(at, NULL);
    return isfinite(*result);
}

/* Decode a checked string to UTF-8 with a NUL after it; returns what comes after that. */
static char *decoded(const char *at, char *out) {
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    for (at++; *at != '"'; at++) {
        if (*at != '\\') {
            *out++ = *at;
            continue;
        }
        if (*++at != 'u') {
            *out++ = meant[strchr(escapes, *at) - escapes];
            continue;
        }
        uint32_t code = (uint32_t)hex4(at + 1);
        at += 4;
        if (code >= 0xd800 && code < 0xdc00) {
            code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)hex4(at + 3) - 0xdc00);
            at += 6;
        }
        if (code < 0x80) {
            *out++ = (char)code;
            continue;
        }
        int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
        *out++ = (char)(lead[more] | code >> (6 * more));
        while (more--) *out++ = (char)(0x80 | (code >> (6 * more) & 0x3f));
    }
    *out++ = 0;
    return out;
}

/* The file --------------------------------------------------------------------------------------------------------- */

enum { CONTEXTS, TABLES, SYMBOLS, FREE, PLAIN, SIGMA_VALUES, SIGMA_TABLES, SIGMA_SYMBOLS, SIGMA_FREE, SECTIONS };
static const char *const SECTION_NAMES[] = {
    "contexts", "tables", "symbols", "free", "plain", "sigma_values", "sigma_tables", "sigma_symbols", "sigma_free"};

typedef struct {
    const unsigned char *bytes;
    uint64_t stored, size;
} section;

typedef struct {
    uint32_t count;      /* of symbols that occur; 0: not made ready yet */
    uint32_t most;       /* the largest frequency */
    uint32_t *starts;    /* count + 1: the sum of the frequencies before each */
    uint16_t *symbols;
} table;

struct pwfn_file {
    unsigned char *owned;                      /* the content, where pwfn_open read it */
    char *header;                              /* the JSON text */
    size_t header_length;
    char *texts;                               /* all names, decoded */
    const char **names;
    double *numbers;                           /* mean and std */
    float *codebook;
    uint64_t entries;
    pwfn_tensor *tensors;                      /* the coded ones, then the others, then those filled with one number */
    uint64_t (*classes)[3];
    size_t coded, others, filled;
    unsigned char *filling;                    /* the bytes of the last */
    uint64_t weights, free;
    uint64_t table_count;
    int has_sigma;
    uint64_t sigma;
    unsigned char digest[DIGEST];
    section sections[SECTIONS];
    size_t section_count;
    pwfn_data data;
};

static const struct { const char *name; uint64_t bytes; } DTYPES[] = {
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1}, {"U8", 1}, {"BOOL", 1}};

/* The product, or more than MOST_SIZE where it is more. */
static uint64_t product(const uint64_t *sizes, size_t count) {
    uint64_t result = 1;
    for (size_t i = 0; i < count; i++)
        if (!sizes[i]) return 0;
    for (size_t i = 0; i < count; i++) {
        if (result > MOST_SIZE / sizes[i]) return MOST_SIZE + 1;
        result *= sizes[i];
    }
    return result;
}

/* [a, b, c] as which a tensor is coded: without sizes of 1 the first, the second, and all others together. */
static void view_shape(const pwfn_tensor *tensor, uint64_t view[3]) {
    uint64_t sizes[PWFN_MOST_DIMENSIONS] = {1, 1};
    size_t count = 0;
    for (size_t i = 0; i < tensor->dimensions; i++)
        if (tensor->shape[i] != 1) sizes[count++] = tensor->shape[i];
    view[0] = sizes[0];
    view[1] = sizes[1];
    view[2] = count > 2 ? product(sizes + 2, count - 2) : 1;
}

/* A dotted name of words: letters, digits, underscores, and whatever is not ASCII. */
static int is_name(const char *text) {
    size_t length = strlen(text);
    if (!length || length > 1200) return 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        int word = c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!word && !(c == '.' && i && i + 1 < length && text[i - 1] != '.')) return 0;
    }
    return 1;
}

typedef struct {
    char *text;          /* where the next name is decoded to */
    const char **name;   /* where its address goes */
} naming;

static int read_names(naming *at, const char *list, pwfn_tensor *tensor) {
    if (*list != '[') return 0;
    tensor->names = at->name;
    for (const char *item = first(list); item; item = next(item)) {
        if (*item != '"') return 0;
        char *end = decoded(item, at->text);
        if (strlen(at->text) != (size_t)(end - at->text) - 1 || !is_name(at->text)) return 0;
        *at->name++ = at->text;
        at->text = end;
        tensor->name_count++;
    }
    return tensor->name_count > 0;
}

static int read_shape(const char *list, pwfn_tensor *tensor) {
    if (*list != '[') return 0;
    for (const char *item = first(list); item; item = next(item))
        if (tensor->dimensions == PWFN_MOST_DIMENSIONS || !natural(item, MOST_SIZE, &tensor->shape[tensor->dimensions++])) return 0;
    tensor->size = product(tensor->shape, tensor->dimensions);
    return tensor->size <= MOST_SIZE;
}

static int read_coded(naming *at, const char *object, pwfn_tensor *tensor, uint64_t classes[3]) {
    static const char *const keys[] = {"names", "shape", "classes", "free"};
    const char *found[4];
    if (!members(object, keys, found, 4) || !all_there(found, 4)) return 0;
    if (!read_names(at, found[0], tensor) || !read_shape(found[1], tensor)) return 0;
    if (*found[2] != '[' || length_of(found[2]) != 3) return 0;
    const char *item = first(found[2]);
    for (int i = 0; i < 3; i++, item = next(item))
        if (!natural(item, 256, &classes[i]) || !classes[i]) return 0;
    tensor->dtype = "F32";
    tensor->byte_count = 4 * tensor->size;
    return natural(found[3], tensor->size, &tensor->free);
}

static int read_other(naming *at, const char *object, pwfn_tensor *tensor) {
    static const char *const keys[] = {"names", "shape", "dtype"};
    const char *found[3];
    if (!members(object, keys, found, 3) || !all_there(found, 3)) return 0;
    if (!read_names(at, found[0], tensor) || !read_shape(found[1], tensor)) return 0;
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (is_text(found[2], DTYPES[i].name)) {
            tensor->dtype = DTYPES[i].name;
            tensor->byte_count = tensor->size * DTYPES[i].bytes;
        }
    return tensor->dtype != NULL;
}

static int read_filled(naming *at, const char *object, pwfn_tensor *tensor) {
    static const char *const keys[] = {"names", "shape", "dtype", "bits"};
    const char *found[4];
    uint64_t bits;
    if (!members(object, keys, found, 4) || !all_there(found, 4)) return 0;
    if (!read_names(at, found[0], tensor) || !read_shape(found[1], tensor)) return 0;
    tensor->dtype = "F32";
    tensor->byte_count = 4 * tensor->size;
    return is_text(found[2], "F32") && natural(found[3], UINT32_MAX, &bits);
}

static int by_name(const void *one, const void *other) { return strcmp(*(const char *const *)one, *(const char *const *)other); }

static int names_differ(const char **names, size_t count) {
    const char **sorted = array(count, sizeof *sorted);
    int differ = sorted != NULL;
    if (sorted) {
        memcpy(sorted, names, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, by_name);
        for (size_t i = 1; i < count; i++) differ &= strcmp(sorted[i - 1], sorted[i]) != 0;
    }
    free(sorted);
    return differ;
}

/* `filled` is NULL in format version 1, which has none. */
static int read_tensors(pwfn_file *file, const char *coded, const char *others, const char *filled, char *error) {
    if (*coded != '[' || *others != '[') return fail(error, "the header is not sound: coded and plain must be lists");
    file->coded = length_of(coded);
    file->others = length_of(others);
    if (filled && *filled != '[') return fail(error, "the header is not sound: filled must be a list");
    file->filled = filled ? length_of(filled) : 0;
    if (!file->coded) return fail(error, "the header is not sound: there are no coded tensors");
    file->tensors = array(file->coded + file->others + file->filled, sizeof *file->tensors);
    file->classes = array(file->coded, sizeof *file->classes);
    file->texts = array(file->header_length, 1);
    file->names = array(file->header_length / 2, sizeof *file->names);  /* a name takes at least "a" and a comma */
    if (!file->tensors || !file->classes || !file->texts || !file->names) return fail(error, "no memory for the header");
    naming at = {file->texts, file->names};
    size_t i = 0;
    for (const char *item = first(coded); item; item = next(item), i++) {
        if (!read_coded(&at, item, file->tensors + i, file->classes[i]))
            return fail(error, "the header is not sound: coded tensor %lu", (unsigned long)i);
        file->weights += file->tensors[i].size;
        file->free += file->tensors[i].free;
        if (file->weights > MOST_SIZE) return fail(error, "the header is not sound: the number of weights is impossible");
    }
    for (const char *item = first(others); item; item = next(item), i++)
        if (!read_other(&at, item, file->tensors + i))
            return fail(error, "the header is not sound: plain tensor %lu", (unsigned long)(i - file->coded));
    for (const char *item = file->filled ? first(filled) : NULL; item; item = next(item), i++)
        if (!read_filled(&at, item, file->tensors + i))
            return fail(error, "the header is not sound: filled tensor %lu", (unsigned long)(i - file->coded - file->others));
    if (!names_differ(file->names, (size_t)(at.name - file->names))) return fail(error, "the header is not sound: a tensor occurs twice");
    return 1;
}

/* numerator * 2^exponent as the bits of a float32 number; 0 where it is none. */
static int exact_float(int64_t numerator, int64_t exponent, uint32_t *bits) {
    uint64_t number = numerator < 0 ? (uint64_t)-numerator : (uint64_t)numerator;
    uint32_t sign = numerator < 0 ? UINT32_C(1) << 31 : 0;
    int64_t top = -1;
    *bits = 0;
    if (!number) return 1;
    for (; !(number & 1); number >>= 1) exponent++;
    if (number >> PRECISION) return 0;
    for (uint64_t rest = number; rest; rest >>= 1) top++;
    if (top + exponent > 127 || exponent < -149) return 0;
    if (top + exponent >= -126)
        *bits = sign | (uint32_t)(top + exponent + 127) << 23 | ((uint32_t)number << (23 - top) & 0x7fffff);
    else
        *bits = sign | (uint32_t)number << (exponent + 149);
    return 1;
}

static int read_codebook(pwfn_file *file, const char *object, char *error) {
    static const char *const keys[] = {"exponent", "numerators", "bits"};
    const char *found[3];
    int64_t exponent = 0, number;
    if (!members(object, keys, found, 3)) return fail(error, "the codebook is not sound");
    int grid = !is_null(found[1]);
    if (grid == !is_null(found[2]) || grid != !is_null(found[0]))
        return fail(error, "the codebook must have either exponent and numerators or bits");
    if (grid && !integer(found[0], -149, 127, &exponent)) return fail(error, "the exponent of the codebook is impossible");
    const char *list = found[grid ? 1 : 2];
    if (*list != '[' || (file->entries = length_of(list)) > MOST_ENTRIES) return fail(error, "the codebook has too many entries");
    if (!(file->codebook = array(file->entries, sizeof *file->codebook))) return fail(error, "no memory for the codebook");
    size_t i = 0;
    for (const char *item = first(list); item; item = next(item), i++) {
        uint32_t bits;
        if (grid) {
            const int64_t most = ((int64_t)1 << 53) - 1;
            if (!integer(item, -most, most, &number) || !exact_float(number, exponent, &bits))
                return fail(error, "an entry of the codebook is no float32 number");
        } else {
            if (!integer(item, 0, UINT32_MAX, &number)) return fail(error, "an entry of the codebook is no float32 number");
            bits = (uint32_t)number;
        }
        if ((bits >> 23 & 0xff) == 0xff) return fail(error, "an entry of the codebook is not finite");
        memcpy(file->codebook + i, &bits, sizeof bits);
        if (i && file->codebook[i] < file->codebook[i - 1]) return fail(error, "the codebook is not in ascending order");
    }
    return 1;
}

static int read_reals(const char *list, const double **numbers, size_t *count, double **next_number) {
    if (*list != '[' || !first(list)) return 0;
    *numbers = *next_number;
    for (const char *item = first(list); item; item = next(item), ++*count)
        if (!real(item, (*next_number)++)) return 0;
    return 1;
}

static int is_one_of(const char *at, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (is_text(at, words[i])) return 1;
    return 0;
}

static int read_data(pwfn_file *file, const char *object) {
    static const char *const keys[] = {"input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode"};
    static const char *const filters[] = {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "random"};
    static const char *const modes[] = {"center", "squash", "border"};
    const char *found[6];
    uint32_t *sides[] = {&file->data.channels, &file->data.height, &file->data.width};
    double crop, *number;
    int64_t side;
    if (is_null(object)) return 1;
    if (!members(object, keys, found, 6) || !all_there(found, 6) || *found[0] != '[' || length_of(found[0]) != 3) return 0;
    const char *item = first(found[0]);
    for (int i = 0; i < 3; i++, item = next(item)) {
        if (!integer(item, 1, 16384, &side)) return 0;
        *sides[i] = (uint32_t)side;
    }
    if (*found[2] != '[' || *found[3] != '[') return 0;
    if (!(number = file->numbers = array(length_of(found[2]) + length_of(found[3]), sizeof *number))) return 0;
    return read_reals(found[2], &file->data.mean, &file->data.mean_count, &number) &&
           read_reals(found[3], &file->data.std, &file->data.std_count, &number) && is_one_of(found[1], filters, 7) &&
           is_one_of(found[5], modes, 3) && real(found[4], &crop) && crop > 0 && crop <= 16;
}

/* What this reader does not use, but a sound file has. */
static int check_rest(const char *writer, const char *model, const char *class_names, const char *const *objects) {
    static const char *const keys[] = {"name", "num_classes", "in_chans", "args", "bytes"};
    const char *found[5];
    uint64_t number;
    if (*writer != '{') return 0;
    for (const char *key = first(writer); key; key = next(value_of(key)))
        if (*value_of(key) != '"') return 0;
    if (!is_null(model)) {
        if (!members(model, keys, found, 5) || !all_there(found, 5) || *found[0] != '"' || *found[3] != '{') return 0;
        if (!natural(found[1], 10000000, &number) || !natural(found[2], 4096, &number) || !number || !natural(found[4], MOST_SIZE, &number))
            return 0;
        const char *at = found[0] + 1, *start = at;
        for (int dots = 0; *at != '"'; at++) {
            int word = *at == '_' || (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z');
            if (!word && !(*at == '.' && at > start && at[1] != '"' && !dots++)) return 0;
        }
        if (at == start || at - start > 100) return 0;
    }
    if (!is_null(class_names)) {
        if (*class_names != '[') return 0;
        for (const char *item = first(class_names); item; item = next(item))
            if (*item != '"') return 0;
    }
    for (int i = 0; i < 3; i++)
        if (*objects[i] != '{' && !(i < 2 && is_null(objects[i]))) return 0;
    return 1;
}

static int is_deflated(size_t i) { return i == CONTEXTS || i == TABLES || i == SIGMA_TABLES; }

/* What size section `i` must have; 0 where any will do. */
static int wanted_size(const pwfn_file *file, size_t i, uint64_t *size) {
    *size = 0;
    switch (i) {
    case CONTEXTS:
        for (size_t t = 0; t < file->coded; t++) {
            uint64_t view[3], count = 1;
            view_shape(file->tensors + t, view);
            for (int axis = 0; axis < 3; axis++) {
                count *= file->classes[t][axis];
                if (file->classes[t][axis] > 1) *size += view[axis];
            }
            *size += 2 * count;
            if (*size > 4 * MOST_SIZE) return 1;
        }
        return 1;
    case TABLES: return *size = file->table_count * (file->entries + 1), 1;
    case FREE: return *size = 4 * file->free, 1;
    case PLAIN:
        for (size_t t = file->coded; t < file->coded + file->others; t++)
            if ((*size += file->tensors[t].byte_count) > 16 * MOST_SIZE) return 1;
        return 1;
    case SIGMA_VALUES: return *size = 4 * file->sigma, 1;
    case SIGMA_TABLES: return *size = (file->entries + 1) * (file->sigma + 1), 1;
    default: return 0;
    }
}

static int read_sections(pwfn_file *file, const char *list, const unsigned char *payload, uint64_t length, char *error) {
    static const char *const keys[] = {"name", "stored", "size"};
    const char *found[3];
    uint64_t total = 0, wanted;
    size_t i = 0;
    file->section_count = file->has_sigma ? SECTIONS : SIGMA_VALUES;
    if (*list != '[' || length_of(list) != file->section_count) return fail(error, "the sections are not those of this format");
    for (const char *item = first(list); item; item = next(item), i++) {
        section *one = file->sections + i;
        if (!members(item, keys, found, 3) || !all_there(found, 3) || !is_text(found[0], SECTION_NAMES[i]))
            return fail(error, "the sections are not those of this format");
        if (!natural(found[1], MOST_SIZE, &one->stored) || !natural(found[2], MOST_SIZE, &one->size))
            return fail(error, "section %s has an impossible size", SECTION_NAMES[i]);
        total += one->stored;
    }
    if (total != length) return fail(error, "the sections do not add up to the bytes there are");
    for (i = 0; i < file->section_count; i++) {
        section *one = file->sections + i;
        one->bytes = payload;
        payload += one->stored;
        if (wanted_size(file, i, &wanted) && one->size != wanted) return fail(error, "section %s has not the size it must have", SECTION_NAMES[i]);
        if (is_deflated(i) ? one->size > ZLIB_RATIO * one->stored : one->size != one->stored)
            return fail(error, "section %s cannot have its size in the bytes that are stored", SECTION_NAMES[i]);
        if (i < PLAIN && one->size > 8 * file->weights + (1 << 20))
            return fail(error, "section %s is larger than the weights it is for", SECTION_NAMES[i]);
        if ((i == SYMBOLS || i == SIGMA_SYMBOLS || i == SIGMA_FREE) && one->size % 4)
            return fail(error, "section %s must have a multiple of four bytes", SECTION_NAMES[i]);
    }
    uint64_t at = 0;
    for (size_t t = file->coded; t < file->coded + file->others; t++) {
        file->tensors[t].bytes = file->sections[PLAIN].bytes + at;
        at += file->tensors[t].byte_count;
    }
    return 1;
}

/* Make the bytes of the vectors that are one number: at most four for each element that the file itself holds. */
static int fill(pwfn_file *file, const char *filled, char *error) {
    static const char *const keys[] = {"names", "shape", "dtype", "bits"};
    uint64_t held = 0, wanted = 0;
    pwfn_tensor *tensor = file->tensors + file->coded;
    for (size_t i = 0; i < file->others; i++) held += tensor[i].size;
    tensor += file->others;
    for (size_t i = 0; i < file->filled; i++)
        if ((wanted += tensor[i].size) > held) return fail(error, "filled has more elements than plain");
    if (!(file->filling = array((size_t)wanted, 4))) return fail(error, "no memory for what one number fills");
    unsigned char *at = file->filling;
    for (const char *item = file->filled ? first(filled) : NULL; item; item = next(item), tensor++) {
        const char *found[4];
        uint64_t bits = 0;
        if (!members(item, keys, found, 4) || !natural(found[3], UINT32_MAX, &bits)) return fail(error, "filled has no bits");
        tensor->bytes = at;
        for (uint64_t i = 0; i < tensor->size; i++)
            for (int byte = 0; byte < 4; byte++) *at++ = (unsigned char)(bits >> 8 * byte);
    }
    return 1;
}

static int read_digest(const char *at, unsigned char digest[DIGEST]) {
    if (*at != '"') return 0;
    for (int i = 0; i < DIGEST; i++) {
        digest[i] = 0;
        for (int half = 0; half < 2; half++) {
            char c = at[1 + 2 * i + half];
            int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0) return 0;
            digest[i] = (unsigned char)(digest[i] << 4 | digit);
        }
    }
    return at[1 + 2 * DIGEST] == '"';
}

enum { WRITER, MODEL, DATA, CLASS_NAMES, CONFIG, METRICS, RECEIPT, CODEBOOK, CODED, OTHERS, TABLE_COUNT, SIGMA, SHA, SECTION_LIST, FORM, FILLED, KEYS };

/* Whether the form of the tensors that are not coded is one of format version 2, which has filled vectors only if folded. */
static int is_form(const char *form, const char *filled) {
    int folded = is_text(form, "folded") || is_text(form, "folded_float16");
    return folded || (is_text(form, "float16") && *filled == '[' && !length_of(filled));
}

static int read_header(pwfn_file *file, uint32_t version, const unsigned char *payload, uint64_t length, uint64_t most_weights, char *error) {
    static const char *const keys[] = {"writer",   "model", "data",  "class_names", "config", "metrics",        "receipt",
                                       "codebook", "coded", "plain", "tables",      "sigma",  "weights_sha256", "sections",
                                       "plain_form", "filled"};
    const size_t count = version == 1 ? FORM : KEYS;
    const char *at[KEYS], *end = check_value(file->header, 0);
    if (!end || (size_t)(blank(end) - file->header) != file->header_length) return fail(error, "the header is not readable JSON");
    if (!members(blank(file->header), keys, at, count) || !all_there(at, count)) return fail(error, "the header has not the keys of this format");
    const char *filled = version == 1 ? NULL : at[FILLED];
    if (filled && !is_form(at[FORM], filled)) return fail(error, "the header is not sound: plain_form");
    const char *objects[] = {at[CONFIG], at[METRICS], at[RECEIPT]};
    if (!check_rest(at[WRITER], at[MODEL], at[CLASS_NAMES], objects)) return fail(error, "the header is not sound: what it says of the model");
    if (!read_data(file, at[DATA])) return fail(error, "the header is not sound: data");
    if (!natural(at[TABLE_COUNT], MOST_TABLES, &file->table_count) || !file->table_count) return fail(error, "the header is not sound: tables");
    file->has_sigma = !is_null(at[SIGMA]);
    if (file->has_sigma && !natural(at[SIGMA], MOST_ENTRIES, &file->sigma)) return fail(error, "the header is not sound: sigma");
    if (!read_digest(at[SHA], file->digest)) return fail(error, "the header is not sound: weights_sha256");
    if (!read_codebook(file, at[CODEBOOK], error) || !read_tensors(file, at[CODED], at[OTHERS], filled, error)) return 0;
    if (file->entries > file->weights) return fail(error, "the codebook has more entries than there are weights");
    if (file->weights > most_weights) return fail(error, "the file has more weights than the %llu that are allowed", (unsigned long long)most_weights);
    return read_sections(file, at[SECTION_LIST], payload, length, error) && fill(file, filled, error);
}

/* The bytes of the header as stored, after the preamble was found right; 0 where it is not. */
static uint64_t check_preamble(const unsigned char *preamble, uint64_t size, char *error) {
    static const unsigned char magic[8] = {0x89, 'P', 'W', 'F', 'N', '\r', '\n', 0x1a};
    if (size < PREAMBLE || memcmp(preamble, magic, sizeof magic)) return (uint64_t)fail(error, "not a pwfn artifact");
    uint64_t version = little32(preamble + 8), stored = little32(preamble + 12), length = little32(preamble + 16);
    if (version != 1 && version != 2) return (uint64_t)fail(error, "format version %lu; this reader reads 1 and 2", (unsigned long)version);
    if (PREAMBLE + stored + DIGEST > size) return (uint64_t)fail(error, "the file is cut short");
    if (!stored || length > MOST_HEADER || length > ZLIB_RATIO * stored) return (uint64_t)fail(error, "the size of the header is impossible");
    return stored;
}

static pwfn_file *opened(const unsigned char *content, size_t size, uint64_t most_weights, unsigned char *owned, char *error) {
    uint64_t stored = check_preamble(content, size, error);
    pwfn_file *file = stored ? calloc(1, sizeof *file) : NULL;
    if (!file) {
        if (stored) fail(error, "no memory");
        free(owned);
        return NULL;
    }
    file->owned = owned;
    file->header_length = little32(content + 16);
    const unsigned char *header = content + PREAMBLE, *end = content + size - DIGEST;
    if (!has_digest(header, (size_t)stored, content + 20)) {
        fail(error, "the file is damaged: the checksum of its header is wrong");
    } else if (!has_digest(content, size - DIGEST, end)) {
        fail(error, "the file is damaged or cut short: its checksum is wrong");
    } else if ((file->header = (char *)inflated(header, stored, file->header_length, "the header", error))) {
        if (read_header(file, little32(content + 8), header + stored, (uint64_t)(end - header) - stored, most_weights, error)) return file;
    }
    pwfn_close(file);
    return NULL;
}

pwfn_file *pwfn_open_bytes(const unsigned char *content, size_t size, uint64_t most_weights, char error[PWFN_ERROR]) {
    return opened(content, size, most_weights, NULL, error);
}

pwfn_file *pwfn_open(const char *path, uint64_t most_weights, char error[PWFN_ERROR]) {
    unsigned char preamble[PREAMBLE], *content = NULL;
    long size = -1;
    FILE *stream = fopen(path, "rb");
    if (!stream) return fail(error, "the file cannot be opened"), NULL;
    size_t there = fread(preamble, 1, PREAMBLE, stream);
    if (check_preamble(preamble, there < PREAMBLE ? 0 : UINT64_MAX, error)) {  /* first: what is no artifact is not read to its end */
        if (fseek(stream, 0, SEEK_END) == 0) size = ftell(stream);
        if (size < PREAMBLE || fseek(stream, 0, SEEK_SET) != 0) {
            fail(error, "the file cannot be read");
        } else if (!(content = malloc((size_t)size))) {
            fail(error, "no memory for the file");
        } else if (fread(content, 1, (size_t)size, stream) != (size_t)size) {
            fail(error, "the file cannot be read");
            free(content);
            content = NULL;
        }
    }
    fclose(stream);
    return content ? opened(content, (size_t)size, most_weights, content, error) : NULL;
}

void pwfn_close(pwfn_file *file) {
    if (!file) return;
    free(file->owned);
    free(file->header);
    free(file->texts);
    free((void *)file->names);
    free(file->numbers);
    free(file->codebook);
    free(file->tensors);
    free(file->classes);
    free(file->filling);
    free(file);
}

/* Decoding --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const unsigned char *words;
    uint64_t all, left;  /* words in the file, and still on the stack */
    uint64_t state;
} coder;

static int start_coder(coder *ans, const section *symbols, char *error) {
    ans->words = symbols->bytes;
    ans->all = ans->left = symbols->size / 4;
    ans->state = 0;
    if (ans->left && !little32(ans->words + 4 * (ans->left - 1))) return fail(error, "the coded symbols end with a zero word");
    for (int i = 0; i < 2 && ans->left; i++) ans->state = ans->state << 32 | little32(ans->words + 4 * --ans->left);
    return 1;
}

static uint16_t pop(coder *ans, const table *known) {
    uint32_t quantile = (uint32_t)(ans->state & 0xffffff), low = 0, high = known->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (known->starts[middle] <= quantile) low = middle;
        else high = middle;
    }
    ans->state = (ans->state >> PRECISION) * (known->starts[low + 1] - known->starts[low]) + quantile - known->starts[low];
    if (ans->state >> 32 == 0 && ans->left) ans->state = ans->state << 32 | little32(ans->words + 4 * --ans->left);
    return known->symbols[low];
}

/* Whether `count` symbols of a table can have been coded in all words there are. */
static int can_hold(const coder *ans, const table *known, uint64_t count) {
    double share = (double)((1 << PRECISION) - known->most) / (1 << PRECISION);  /* -log2(1 - share) bits or more a symbol */
    return known->count == 1 || (double)count * share <= 32.0 * (double)ans->all + 128;
}

/* Make a table ready: the frequencies follow from the levels by integer arithmetic (docs/artifact.md, Frequencies). */
static int ready(table *one, const unsigned char *levels, uint64_t alphabet, char *error) {
    uint64_t total = 0, heaviest = 0, sum = 0;
    uint32_t count = 0, most = 0;
    for (uint64_t i = 0; i < alphabet; i++) count += levels[i] != 0;
    if (!count) return fail(error, "a frequency table is empty");
    one->starts = array(count + (uint64_t)1, sizeof *one->starts);
    one->symbols = array(count, sizeof *one->symbols);
    uint64_t *weights = array(count, sizeof *weights);
    if (!one->starts || !one->symbols || !weights) return free(weights), fail(error, "no memory for a frequency table");
    uint32_t n = 0;
    for (uint64_t i = 0; i < alphabet; i++) {
        if (!levels[i]) continue;
        weights[n] = (uint64_t)(8 + (levels[i] - 1) % 8) << ((levels[i] - 1) / 8);
        total += weights[n];
        if (weights[n] > heaviest) heaviest = weights[most = n];
        one->symbols[n++] = (uint16_t)i;
    }
    for (uint32_t i = 0; i < count; i++) sum += weights[i] = 1 + weights[i] * ((1 << PRECISION) - count) / total;
    weights[most] += (1 << PRECISION) - sum;
    for (uint32_t i = 0; i < count; i++) one->starts[i + 1] = one->starts[i] + (uint32_t)weights[i];
    one->most = (uint32_t)weights[most];
    one->count = count;
    free(weights);
    return 1;
}

/* What decoding needs beside the file, all freed in one place. */
typedef struct {
    pwfn_file *file;
    unsigned char *contexts, *levels;
    const unsigned char *context;              /* what is not used yet */
    table *tables;
    coder ans;
    uint64_t *order[3];                        /* of one tensor: the indices of each axis, class after class */
    uint64_t ends[3][257];
    uint16_t *indices;
    float *values, *sigmas;
    unsigned char *sigma_levels;
    table *sigma_tables;                       /* one for each index of a weight */
    coder sigma_ans;
    const unsigned char *sigma_free;
    uint64_t sigma_left;
    const unsigned char *free_values;
    uint64_t free_left;
    sha256 sha;
} decoding;

static void forget_tables(table *tables, uint64_t count) {
    for (uint64_t i = 0; tables && i < count; i++) free(tables[i].starts), free(tables[i].symbols);
    free(tables);
}

static void forget_tensor(decoding *d) {
    for (int axis = 0; axis < 3; axis++) free(d->order[axis]), d->order[axis] = NULL;
    free(d->indices);
    free(d->values);
    free(d->sigmas);
    d->indices = NULL;
    d->values = d->sigmas = NULL;
}

/* Read the class of every index of every axis, and sort the indices by it. */
static int read_classes(decoding *d, const uint64_t view[3], const uint64_t classes[3], char *error) {
    for (int axis = 0; axis < 3; axis++) {
        uint64_t *ends = d->ends[axis], at[257];
        memset(ends, 0, sizeof d->ends[axis]);
        if (classes[axis] == 1) {
            ends[1] = view[axis];
            continue;
        }
        for (uint64_t i = 0; i < view[axis]; i++) {
            if (d->context[i] >= classes[axis]) return fail(error, "a tensor has a class above those it may have");
            ends[d->context[i] + 1]++;
        }
        for (uint64_t c = 0; c < classes[axis]; c++) ends[c + 1] += ends[c];
        memcpy(at, ends, sizeof at);
        if (!(d->order[axis] = array(view[axis], sizeof **d->order))) return fail(error, "no memory for the classes of a tensor");
        for (uint64_t i = 0; i < view[axis]; i++) d->order[axis][at[d->context[i]]++] = i;
        d->context += view[axis];
    }
    return 1;
}

/* The table of a context of `count` weights, if so many can have been coded with it in what the file holds. */
static const table *context_table(decoding *d, uint64_t number, uint64_t count, char *error) {
    uint32_t id = (uint32_t)d->context[2 * number] | (uint32_t)d->context[2 * number + 1] << 8;
    if (id >= d->file->table_count) return fail(error, "frequency table %lu is asked for", (unsigned long)id), NULL;
    table *one = d->tables + id;
    if (!one->count && !ready(one, d->levels + id * (d->file->entries + 1), d->file->entries + 1, error)) return NULL;
    return can_hold(&d->ans, one, count) ? one : (fail(error, "so many symbols cannot have been coded in what the file holds"), NULL);
}

static uint64_t place(const decoding *d, int axis, uint64_t i) { return d->order[axis] ? d->order[axis][i] : i; }

static void decode_context(decoding *d, const table *known, const uint64_t from[3], const uint64_t to[3], const uint64_t view[3]) {
    for (uint64_t i = from[0]; i < to[0]; i++)
        for (uint64_t j = from[1]; j < to[1]; j++) {
            uint16_t *row = d->indices + (place(d, 0, i) * view[1] + place(d, 1, j)) * view[2];
            for (uint64_t k = from[2]; k < to[2]; k++) row[place(d, 2, k)] = known->count == 1 ? *known->symbols : pop(&d->ans, known);
        }
}

/* Go through the contexts in their order: first with `decode` 0, which only checks, then with 1. */
static int each_context(decoding *d, const uint64_t view[3], const uint64_t classes[3], int decode, char *error) {
    uint64_t c[3], number = 0;
    for (c[0] = 0; c[0] < classes[0]; c[0]++)
        for (c[1] = 0; c[1] < classes[1]; c[1]++)
            for (c[2] = 0; c[2] < classes[2]; c[2]++, number++) {
                uint64_t from[3], to[3], sizes[3];
                for (int axis = 0; axis < 3; axis++) {
                    from[axis] = d->ends[axis][c[axis]];
                    to[axis] = d->ends[axis][c[axis] + 1];
                    sizes[axis] = to[axis] - from[axis];
                }
                const table *known = context_table(d, number, product(sizes, 3), error);
                if (!known) return 0;
                if (decode && product(sizes, 3)) decode_context(d, known, from, to, view);
            }
    return 1;
}

/* Look the values up, and add their bytes to the checksum of all weights. */
static int look_up(decoding *d, const pwfn_tensor *tensor, char *error) {
    unsigned char bytes[4 * 1024];
    size_t held = 0;
    uint64_t missing = 0;
    for (uint64_t i = 0; i < tensor->size; i++) {
        uint32_t bits;
        if (d->indices[i] < d->file->entries) {
            memcpy(&bits, d->file->codebook + d->indices[i], sizeof bits);
        } else {
            if (missing++ == tensor->free || !d->free_left) return fail(error, "%s has not the free weights the header announces", tensor->names[0]);
            bits = little32(d->free_values);
            d->free_values += 4;
            d->free_left--;
        }
        memcpy(d->values + i, &bits, sizeof bits);
        for (int byte = 0; byte < 4; byte++) bytes[held++] = (unsigned char)(bits >> (8 * byte));
        if (held == sizeof bytes) sha_add(&d->sha, bytes, held), held = 0;
    }
    sha_add(&d->sha, bytes, held);
    return missing == tensor->free ? 1 : fail(error, "%s has not the free weights the header announces", tensor->names[0]);
}

/* The sigmas of the `count` weights at `places`, which all have the index `row`. */
static int decode_row(decoding *d, uint64_t row, const uint64_t *places, uint64_t count, unsigned char *own, char *error) {
    table *one = d->sigma_tables + row;
    uint64_t alphabet = d->file->sigma + 1;
    if (!one->count && !ready(one, d->sigma_levels + row * alphabet, alphabet, error)) return 0;
    if (!can_hold(&d->sigma_ans, one, count)) return fail(error, "so many sigmas cannot have been coded in what the file holds");
    for (uint64_t i = 0; i < count; i++) {
        uint16_t symbol = one->count == 1 ? *one->symbols : pop(&d->sigma_ans, one);
        if (symbol < d->file->sigma) {
            uint32_t bits = little32(d->file->sections[SIGMA_VALUES].bytes + 4 * symbol);
            memcpy(d->sigmas + places[i], &bits, sizeof bits);
        } else {
            own[places[i]] = 1;
        }
    }
    return 1;
}

/* The sigmas of a tensor, whose weights are taken by index, those of one index in C order. */
static int decode_sigmas(decoding *d, const pwfn_tensor *tensor, char *error) {
    uint64_t rows = d->file->entries + 1, from = 0;
    uint64_t *ends = array(rows + 1, sizeof *ends), *places = array(tensor->size, sizeof *places);
    unsigned char *own = array(tensor->size, 1);  /* whether a sigma is none of those that are shared */
    d->sigmas = array(tensor->size, sizeof *d->sigmas);
    int right = ends && places && own && d->sigmas;
    if (!right) fail(error, "no memory for the sigmas of %s", tensor->names[0]);
    for (uint64_t i = 0; right && i < tensor->size; i++) ends[d->indices[i] + 1]++;
    for (uint64_t row = 0; right && row < rows; row++) ends[row + 1] += ends[row];
    for (uint64_t i = 0; right && i < tensor->size; i++) places[ends[d->indices[i]]++] = i;  /* ends[row] is the end of row now */
    for (uint64_t row = 0; right && row < rows; from = ends[row++])
        if (ends[row] > from) right = decode_row(d, row, places + from, ends[row] - from, own, error);
    for (uint64_t i = 0; right && i < tensor->size; i++) {
        if (!own[i]) continue;
        if (!d->sigma_left--) {
            right = fail(error, "there are fewer sigmas than weights");
            break;
        }
        uint32_t bits = little32(d->sigma_free);
        memcpy(d->sigmas + i, &bits, sizeof bits);
        d->sigma_free += 4;
    }
    free(ends);
    free(places);
    free(own);
    return right;
}

static int start_sigmas(decoding *d, char *error) {
    const section *sections = d->file->sections;
    d->sigma_levels = inflated(sections[SIGMA_TABLES].bytes, sections[SIGMA_TABLES].stored, sections[SIGMA_TABLES].size, "section sigma_tables", error);
    if (!d->sigma_levels) return 0;
    if (!(d->sigma_tables = array(d->file->entries + 1, sizeof *d->sigma_tables))) return fail(error, "no memory for the tables of sigmas");
    d->sigma_free = sections[SIGMA_FREE].bytes;
    d->sigma_left = sections[SIGMA_FREE].size / 4;
    return start_coder(&d->sigma_ans, sections + SIGMA_SYMBOLS, error);
}

static int decode_tensor(decoding *d, size_t index, char *error) {
    const pwfn_tensor *tensor = d->file->tensors + index;
    const uint64_t *classes = d->file->classes[index];
    uint64_t view[3];
    view_shape(tensor, view);
    if (!read_classes(d, view, classes, error) || !each_context(d, view, classes, 0, error)) return 0;
    d->indices = array(tensor->size, sizeof *d->indices);
    d->values = array(tensor->size, sizeof *d->values);
    if (!d->indices || !d->values) return fail(error, "no memory for %s", tensor->names[0]);
    each_context(d, view, classes, 1, error);
    d->context += 2 * classes[0] * classes[1] * classes[2];
    return look_up(d, tensor, error) && (!d->file->has_sigma || decode_sigmas(d, tensor, error));
}

static int decode_all(decoding *d, pwfn_visit visit, void *context, char *error) {
    const section *sections = d->file->sections;
    unsigned char found[DIGEST];
    d->contexts = inflated(sections[CONTEXTS].bytes, sections[CONTEXTS].stored, sections[CONTEXTS].size, "section contexts", error);
    if (!d->contexts) return 0;
    d->levels = inflated(sections[TABLES].bytes, sections[TABLES].stored, sections[TABLES].size, "section tables", error);
    if (!d->levels) return 0;
    if (!(d->tables = array(d->file->table_count, sizeof *d->tables))) return fail(error, "no memory for the frequency tables");
    d->context = d->contexts;
    if (!start_coder(&d->ans, sections + SYMBOLS, error)) return 0;
    if (d->file->has_sigma && !start_sigmas(d, error)) return 0;
    for (size_t i = 0; i < d->file->coded; i++) {
        int going = decode_tensor(d, i, error);
        if (going && visit && !visit(context, d->file->tensors + i, d->indices, d->values, d->sigmas)) going = fail(error, "stopped");
        forget_tensor(d);
        if (!going) return 0;
    }
    if (d->ans.state || d->ans.left) return fail(error, "some coded symbols are left over");
    if (d->sigma_ans.state || d->sigma_ans.left || d->sigma_left) return fail(error, "some coded sigmas are left over");
    sha_finish(&d->sha, found);
    if (memcmp(found, d->file->digest, DIGEST)) return fail(error, "the decoded weights are not those that were written: their checksum is wrong");
    return 1;
}

int pwfn_decode(pwfn_file *file, pwfn_visit visit, void *context, char error[PWFN_ERROR]) {
    decoding d;
    memset(&d, 0, sizeof d);
    d.file = file;
    d.free_values = file->sections[FREE].bytes;
    d.free_left = file->free;
    sha_start(&d.sha);
    int result = decode_all(&d, visit, context, error);
    forget_tables(d.tables, file->table_count);
    forget_tables(d.sigma_tables, file->entries + 1);
    free(d.sigma_levels);
    free(d.contexts);
    free(d.levels);
    return result;
}

size_t pwfn_codebook(const pwfn_file *file, const float **values) {
    if (values) *values = file->codebook;
    return (size_t)file->entries;
}

size_t pwfn_weights(const pwfn_file *file, const pwfn_tensor **tensors) {
    if (tensors) *tensors = file->tensors;
    return file->coded;
}

size_t pwfn_others(const pwfn_file *file, const pwfn_tensor **tensors) {
    if (tensors) *tensors = file->tensors + file->coded;
    return file->others + file->filled;
}

const pwfn_data *pwfn_preprocessing(const pwfn_file *file) { return &file->data; }

const char *pwfn_header(const pwfn_file *file, size_t *length) {
    if (length) *length = file->header_length;
    return file->header;
}
