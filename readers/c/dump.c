/* Show what is in a model.pwfn, or write its tensors to a file; see usage(). */
#include "pwfn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void) {
    fputs(
        "dump FILE                    list the tensors, after all of them were decoded and found right\n"
        "dump FILE --values OUT       write the weights as float32, tensor after tensor, in C order\n"
        "dump FILE --indices OUT      write their codebook indices as uint16; the number of entries means free\n"
        "dump FILE --sigmas OUT       write the sigmas of the weights as float32, where the file has them\n"
        "dump FILE --codebook OUT     write the shared values as float32\n"
        "dump FILE --others OUT       write all other tensors, each in its own dtype, one after the other\n"
        "dump --check MOST            read paths from stdin; print for each \"sound\" or \"refused: why\"; at most MOST weights\n",
        stderr);
    return 2;
}

#define UNWRITTEN "the output cannot be written"

typedef struct {
    FILE *out;
    const char *what, *why;                    /* why: of a tensor that was not written */
} writing;

static int write_tensor(void *context, const pwfn_tensor *tensor, const uint16_t *indices, const float *values, const float *sigmas) {
    writing *to = context;
    size_t count = (size_t)tensor->size;
    to->why = UNWRITTEN;
    if (!strcmp(to->what, "--indices")) return fwrite(indices, sizeof *indices, count, to->out) == count;
    if (!strcmp(to->what, "--values")) return fwrite(values, sizeof *values, count, to->out) == count;
    if (!sigmas) to->why = "the file has no sigmas";
    return sigmas && fwrite(sigmas, sizeof *sigmas, count, to->out) == count;
}

static void list(const pwfn_tensor *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < tensors[i].name_count; n++) printf("%s%s", n ? " = " : "", tensors[i].names[n]);
        printf(" %s [", tensors[i].dtype);
        for (size_t n = 0; n < tensors[i].dimensions; n++) printf("%s%llu", n ? ", " : "", (unsigned long long)tensors[i].shape[n]);
        printf("] %llu free\n", (unsigned long long)tensors[i].free);
    }
}

static int check(uint64_t most) {
    char path[4096], error[PWFN_ERROR];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        pwfn_file *file = pwfn_open(path, most, error);
        if (file && pwfn_decode(file, NULL, NULL, error)) puts("sound");
        else printf("refused: %s\n", error);
        pwfn_close(file);
        fflush(stdout);
    }
    return 0;
}

static int write_to(pwfn_file *file, const char *what, FILE *out, char *error) {
    const pwfn_tensor *tensors;
    const float *codebook;
    writing to = {out, what, NULL};
    if (!strcmp(what, "--codebook")) {
        size_t count = pwfn_codebook(file, &codebook);
        return fwrite(codebook, sizeof *codebook, count, out) == count;
    }
    if (strcmp(what, "--others")) {
        int right = pwfn_decode(file, write_tensor, &to, error);
        if (!right && !strcmp(error, "stopped")) strcpy(error, to.why);
        return right;
    }
    for (size_t i = 0, count = pwfn_others(file, &tensors); i < count; i++)
        if (fwrite(tensors[i].bytes, 1, (size_t)tensors[i].byte_count, out) != (size_t)tensors[i].byte_count) return 0;
    return 1;
}

static int is_what(const char *option) {
    static const char *const options[] = {"--values", "--indices", "--sigmas", "--codebook", "--others"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(option, options[i])) return 1;
    return 0;
}

int main(int argc, char **argv) {
    char error[PWFN_ERROR] = UNWRITTEN;
    const pwfn_tensor *tensors;
    int right;
    if (argc == 3 && !strcmp(argv[1], "--check")) return check(strtoull(argv[2], NULL, 10));
    if (argc != 2 && (argc != 4 || !is_what(argv[2])))
        return usage();
    pwfn_file *file = pwfn_open(argv[1], PWFN_MOST_WEIGHTS, error);
    if (!file) return fprintf(stderr, "%s: %s\n", argv[1], error), 2;
    if (argc == 2) {
        if ((right = pwfn_decode(file, NULL, NULL, error))) {
            size_t count = pwfn_weights(file, &tensors);
            list(tensors, count);
            count = pwfn_others(file, &tensors);
            list(tensors, count);
        }
    } else {
        FILE *out = fopen(argv[3], "wb");
        right = out && write_to(file, argv[2], out, error);
        if (out && fclose(out)) right = 0;
    }
    if (fflush(stdout) || ferror(stdout)) {
        right = 0;
        strcpy(error, UNWRITTEN);
    }
    if (!right) fprintf(stderr, "%s: %s\n", argv[1], error);
    pwfn_close(file);
    return right ? 0 : 2;
}
