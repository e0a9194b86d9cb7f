/* Read `model.pwfn`, format versions 1 and 2 (docs/artifact.md), in C99 with zlib as the only dependency.
 *
 *     char error[PWFN_ERROR];
 *     pwfn_file *file = pwfn_open("model.pwfn", PWFN_MOST_WEIGHTS, error);
 *     if (!file || !pwfn_decode(file, visit, &mine, error)) fprintf(stderr, "%s\n", error);
 *     pwfn_close(file);
 *
 * `visit` is called once for each tensor of weights, with its codebook indices and its float32 values. Nothing of a file
 * may be used before pwfn_decode has returned 1: the checksum over all weights is known only then.
 *
 * The reader believes nothing that a file claims: every size is held against what the file can hold before memory is
 * taken for it. It keeps the file and one tensor in memory. It has no global state; use one pwfn_file in one thread.
 */
#ifndef PWFN_H
#define PWFN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PWFN_ERROR 256                         /* bytes of a message, which is one line */
#define PWFN_MOST_WEIGHTS ((uint64_t)1 << 31)  /* a limit for those who expect no particular network */
#define PWFN_MOST_DIMENSIONS 8

typedef struct pwfn_file pwfn_file;

typedef struct {
    const char *const *names;                  /* in the state dict; several for a tied tensor; UTF-8 */
    size_t name_count;
    size_t dimensions;
    uint64_t shape[PWFN_MOST_DIMENSIONS];
    uint64_t size;                             /* elements */
    uint64_t free;                             /* weights without a codebook entry; 0 for other tensors */
    const char *dtype;                         /* as safetensors names it; "F32" for weights */
    const unsigned char *bytes;                /* little endian, C order; NULL for weights, which pwfn_decode gives */
    uint64_t byte_count;
} pwfn_tensor;

typedef struct {                               /* timm's data config, or all zero where the file has none */
    uint32_t channels, height, width;
    const double *mean, *std;
    size_t mean_count, std_count;
} pwfn_data;

/* Return 1 to go on, 0 to stop. `indices`, `values` and `sigmas` have tensor->size elements in C order and live until
 * `visit` returns. The index after the last of the codebook stands for a free weight. `sigmas` is NULL in a file without. */
typedef int (*pwfn_visit)(void *context, const pwfn_tensor *tensor, const uint16_t *indices, const float *values, const float *sigmas);

/* Read a file, verify both checksums and the header. Returns NULL, and a message in `error`, for anything that is wrong
 * and for a network of more than `most_weights` weights. */
pwfn_file *pwfn_open(const char *path, uint64_t most_weights, char error[PWFN_ERROR]);

/* The same for a file in memory, which must stay there until pwfn_close. */
pwfn_file *pwfn_open_bytes(const unsigned char *content, size_t size, uint64_t most_weights, char error[PWFN_ERROR]);

/* Decode all weights, in the file's order. Returns 1, or 0 and a message. May be called again. */
int pwfn_decode(pwfn_file *file, pwfn_visit visit, void *context, char error[PWFN_ERROR]);

void pwfn_close(pwfn_file *file);              /* NULL is allowed */

size_t pwfn_codebook(const pwfn_file *file, const float **values);           /* ascending */
size_t pwfn_weights(const pwfn_file *file, const pwfn_tensor **tensors);     /* the coded tensors */
size_t pwfn_others(const pwfn_file *file, const pwfn_tensor **tensors);      /* all other tensors of the state dict; "F16" may
                                                                              * stand for float32 ones of the network */
const pwfn_data *pwfn_preprocessing(const pwfn_file *file);
const char *pwfn_header(const pwfn_file *file, size_t *length);              /* the JSON text, with a NUL after it */

#ifdef __cplusplus
}
#endif
#endif
