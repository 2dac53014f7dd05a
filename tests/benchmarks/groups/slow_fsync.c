/* Delays fsync and fdatasync by FSYNC_DELAY_MS milliseconds, as an SD card does.
 * cc -shared -fPIC -o slow_fsync.so slow_fsync.c -ldl; LD_PRELOAD=./slow_fsync.so */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void pause_for_disk(void) {
    const char *text = getenv("FSYNC_DELAY_MS");
    long milliseconds = text ? strtol(text, NULL, 10) : 0;
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&left, &left) != 0) {
    }
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    pause_for_disk();
    return real(file);
}

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    pause_for_disk();
    return real(file);
}
