/* replay.c - plays inputs to a fuzz target that is built without libFuzzer: each file of the folders, and each file,
 * that the arguments name. A file that takes too long fails as one that crashes. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* libFuzzer's time-out is 5 s at full speed; here other tests run beside, under sanitizers. */
#define SECONDS_A_FILE 60

static void play(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECKF(file != NULL, "%s: cannot be opened", path);
    struct stat stat;
    CHECK(fstat(fileno(file), &stat) == 0);
    size_t size = (size_t)stat.st_size;
    uint8_t *bytes = malloc(size); /* exactly: a read beyond its end is seen */
    CHECK((bytes != NULL || size == 0) && fread(bytes, 1, size, file) == size);
    fclose(file);
    alarm(SECONDS_A_FILE);
    (void)LLVMFuzzerTestOneInput(bytes, size);
    alarm(0);
    free(bytes);
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static size_t play_folder(const char *folder) {
    struct dirent **entries;
    int count = scandir(folder, &entries, is_visible, alphasort);
    CHECKF(count >= 0, "%s: cannot be listed", folder);
    for (int i = 0; i < count; i++) {
        char path[4096];
        CHECK((size_t)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name) < sizeof path);
        free(entries[i]);
        if (getenv("FUZZ_VERBOSE") != NULL) fprintf(stderr, "%s\n", path);
        play(path);
    }
    free(entries);
    return (size_t)count;
}

int main(int argc, char **argv) {
    size_t played = 0;
    for (int i = 1; i < argc; i++) {
        struct stat found;
        CHECKF(stat(argv[i], &found) == 0, "%s: not there", argv[i]);
        if (S_ISDIR(found.st_mode)) {
            played += play_folder(argv[i]);
        } else {
            play(argv[i]);
            played++;
        }
    }
    printf("%zu inputs\n", played);
    return played == 0;
}
