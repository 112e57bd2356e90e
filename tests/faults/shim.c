/* A disk that fails when told to: counts the calls of a process family on files below a folder and fails one of them.

   Nothing here loses power, so data are not really forced to the disk, which would only cost time.

   Loaded with LD_PRELOAD. VP_FAULT_ROOT is the folder, VP_FAULT_STATE a file of sizeof(struct state) bytes that is
   shared with every child process and with the test, which sets `at`, `kind` and `lasting` and reads the rest. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { OPEN, READ, WRITE, SYNC, RENAME, UNLINK, MKDIR, TRUNCATE, CALLS };
enum { KILL_GROUP = -1, KILL_PROCESS = -2, SHORT = -3 }; /* `kind` above 0 is an errno */

struct state {
    _Atomic int64_t calls; /* so far */
    int64_t at;            /* the call that fails, counted from 1; 0 for none */
    int64_t kind;
    int64_t lasting; /* whether everything that needs room on the disk fails from then on */
    _Atomic int64_t fired;
    _Atomic int64_t by_call[CALLS];
    char what[512]; /* the call that failed */
};

static struct state *state;
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void attach(void) {
    const char *folder = getenv("VP_FAULT_ROOT"), *file = getenv("VP_FAULT_STATE");
    if (folder == NULL || file == NULL || realpath(folder, root) == NULL) return;
    root_length = strlen(root);
    int descriptor = open(file, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *memory = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (memory != MAP_FAILED) state = memory;
}

static int below(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == '\0');
}

/* The absolute name of an open file, or of a path relative to an open folder. */
static int named(int folder, const char *path, char *name) {
    char link[64];
    if (path != NULL && path[0] == '/') return snprintf(name, PATH_MAX, "%s", path) < PATH_MAX;
    if (folder == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    if (length < 0) return 0;
    name[length] = '\0';
    if (path != NULL && length + 1 + strlen(path) < PATH_MAX) {
        name[length] = '/';
        strcpy(name + length + 1, path);
    }
    return 1;
}

/* Whether this call has to fail; errno says how. `room`: whether it needs room on the disk. A SHORT fault returns 2. */
static int fails(enum call call, int folder, const char *path, int room) {
    static const char *names[] = {"open", "read", "write", "sync", "rename", "unlink", "mkdir", "truncate"};
    char name[PATH_MAX];
    int before = errno;
    if (state == NULL || !named(folder, path, name) || !below(name)) {
        errno = before;
        return 0;
    }
    int64_t number = atomic_fetch_add(&state->calls, 1) + 1;
    atomic_fetch_add(&state->by_call[call], 1);
    errno = before;
    if (state->at == 0 || number < state->at || (number > state->at && !(state->lasting && room))) return 0;
    if (number == state->at) {
        atomic_store(&state->fired, 1);
        snprintf(state->what, sizeof state->what, "%s %s", names[call], name + root_length);
    }
    if (state->kind == KILL_GROUP) kill(0, SIGKILL);
    if (state->kind == KILL_PROCESS) kill(getpid(), SIGKILL);
    if (state->kind == SHORT) return call == WRITE ? 2 : 0;
    errno = (int)state->kind;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                                                                                   \
    int name(const char *path, int flags, ...) {                                                                       \
        static __typeof__(&name) real;                                                                                 \
        mode_t mode = 0;                                                                                               \
        if (flags & O_CREAT) {                                                                                         \
            va_list more;                                                                                              \
            va_start(more, flags);                                                                                     \
            mode = va_arg(more, mode_t);                                                                               \
            va_end(more);                                                                                              \
        }                                                                                                              \
        if (real == NULL) real = REAL(name);                                                                           \
        return fails(OPEN, AT_FDCWD, path, flags & O_CREAT) ? -1 : real(path, flags, mode);                            \
    }
OPENS(open)
OPENS(open64)

#define OPENATS(name)                                                                                                  \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        static __typeof__(&name) real;                                                                                 \
        mode_t mode = 0;                                                                                               \
        if (flags & O_CREAT) {                                                                                         \
            va_list more;                                                                                              \
            va_start(more, flags);                                                                                     \
            mode = va_arg(more, mode_t);                                                                               \
            va_end(more);                                                                                              \
        }                                                                                                              \
        if (real == NULL) real = REAL(name);                                                                           \
        return fails(OPEN, folder, path, flags & O_CREAT) ? -1 : real(folder, path, flags, mode);                      \
    }
OPENATS(openat)
OPENATS(openat64)

/* WRAP(type of the result, name, parameters, arguments, whether it fails): fails with -1 */
#define WRAP(type, name, parameters, arguments, failing)                                                               \
    type name parameters {                                                                                             \
        static __typeof__(&name) real;                                                                                 \
        if (real == NULL) real = REAL(name);                                                                           \
        return (failing) ? (type)-1 : real arguments;                                                                  \
    }

/* As WRAP, for calls that may also do half of what they are asked to. */
#define WRAP_SHORT(name, parameters, arguments, half)                                                                  \
    ssize_t name parameters {                                                                                          \
        static __typeof__(&name) real;                                                                                 \
        if (real == NULL) real = REAL(name);                                                                           \
        int how = fails(WRITE, file, NULL, 1);                                                                         \
        if (how == 1) return -1;                                                                                       \
        return how == 2 ? real half : real arguments;                                                                  \
    }

#define HALF (size > 1 ? size / 2 : size)

WRAP(int, creat, (const char *path, mode_t mode), (path, mode), fails(OPEN, AT_FDCWD, path, 1))
WRAP(int, creat64, (const char *path, mode_t mode), (path, mode), fails(OPEN, AT_FDCWD, path, 1))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), fails(MKDIR, AT_FDCWD, path, 1))
WRAP(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), fails(MKDIR, folder, path, 1))
WRAP(int, unlink, (const char *path), (path), fails(UNLINK, AT_FDCWD, path, 0))
WRAP(int, rmdir, (const char *path), (path), fails(UNLINK, AT_FDCWD, path, 0))
WRAP(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), fails(UNLINK, folder, path, 0))
WRAP(int, rename, (const char *from, const char *to), (from, to), fails(RENAME, AT_FDCWD, to, 1))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), fails(RENAME, b, to, 1))
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags),
     fails(RENAME, b, to, 1))
WRAP(int, link, (const char *from, const char *to), (from, to), fails(RENAME, AT_FDCWD, to, 1))
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags),
     fails(RENAME, b, to, 1))
WRAP(int, symlink, (const char *target, const char *path), (target, path), fails(RENAME, AT_FDCWD, path, 1))

int fsync(int file) { return fails(SYNC, file, NULL, 1) ? -1 : 0; }
int fdatasync(int file) { return fails(SYNC, file, NULL, 1) ? -1 : 0; }

WRAP(int, ftruncate, (int file, off_t size), (file, size), fails(TRUNCATE, file, NULL, 1))
WRAP(int, ftruncate64, (int file, off64_t size), (file, size), fails(TRUNCATE, file, NULL, 1))
WRAP(ssize_t, read, (int file, void *to, size_t size), (file, to, size), fails(READ, file, NULL, 0))
WRAP(ssize_t, pread, (int file, void *to, size_t size, off_t at), (file, to, size, at), fails(READ, file, NULL, 0))
WRAP(ssize_t, pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at), fails(READ, file, NULL, 0))
WRAP_SHORT(write, (int file, const void *data, size_t size), (file, data, size), (file, data, HALF))
WRAP_SHORT(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), (file, data, HALF, at))
WRAP_SHORT(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at),
           (file, data, HALF, at))
WRAP_SHORT(writev, (int file, const struct iovec *parts, int count), (file, parts, count),
           (file, parts, count > 1 ? count / 2 : count))

FILE *fopen(const char *path, const char *mode) {
    static __typeof__(&fopen) real;
    if (real == NULL) real = REAL(fopen);
    return fails(OPEN, AT_FDCWD, path, mode[0] != 'r') ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
    static __typeof__(&fopen64) real;
    if (real == NULL) real = REAL(fopen64);
    return fails(OPEN, AT_FDCWD, path, mode[0] != 'r') ? NULL : real(path, mode);
}
