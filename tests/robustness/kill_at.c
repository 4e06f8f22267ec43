/* Ends a process (SIGKILL) at its k-th change of a file below some folder.

   Loaded before the C library (LD_PRELOAD), so that it sees what Python and the libraries in C++ do
   alike. It does nothing until kill_at() is called: what a process starts is left alone. A file is
   written by half before the end comes; any other change has not happened yet. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long when;
static int journal = -1;
static volatile long changes;

/* Counts the changes below FOLDER from here on, writes each as "kind path" to the descriptor, of what
   is moved with a tab and the path it had, and ends the process at number NUMBER; 0 for never. */
void kill_at(const char *below, long number, int descriptor) {
  snprintf(folder, sizeof folder, "%s", below);
  when = number;
  journal = descriptor;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void whole(int at, const char *path, char *out) {
  char link[64], base[PATH_MAX] = "";
  if (path && path[0] == '/') {
    snprintf(out, PATH_MAX, "%s", path);
    return;
  }
  if (at == AT_FDCWD) {
    if (!getcwd(base, sizeof base)) base[0] = 0;
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t size = readlink(link, base, sizeof base - 1);
    base[size > 0 ? size : 0] = 0;
  }
  if (snprintf(out, PATH_MAX, path ? "%s/%s" : "%s", base, path) >= PATH_MAX) out[0] = 0;
}

/* Returns whether the process ends at this change; FROM is where what is moved lay. */
static int ends_at(const char *kind, int at, const char *path, int from_at, const char *from) {
  char name[PATH_MAX], before[PATH_MAX] = "", line[2 * PATH_MAX + 32];
  if (!folder[0]) return 0;
  whole(at, path, name);
  size_t size = strlen(folder);
  if (strncmp(name, folder, size) || (name[size] && name[size] != '/')) return 0;
  if (from) whole(from_at, from, before);
  if (strncmp(before, folder, size)) before[0] = 0;
  long number = __sync_add_and_fetch(&changes, 1);
  int length = snprintf(line, sizeof line, "%s %s%s%s\n", kind, name + size, from ? "\t" : "",
                        before[0] ? before + size : "");
  if (length > 0) (void)!REAL(write)(journal, line, length);
  return number == when;
}

static int ends(const char *kind, int at, const char *path) {
  return ends_at(kind, at, path, AT_FDCWD, NULL);
}

static void end(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define CHANGE(kind, at, path) \
  if (ends(kind, at, path)) end()

static mode_t mode_of(int flags, va_list rest) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)
#define OPEN(name)                                \
  int name(const char *path, int flags, ...) {    \
    va_list rest;                                 \
    va_start(rest, flags);                        \
    mode_t mode = mode_of(flags, rest);           \
    va_end(rest);                                 \
    if (flags & WRITES) CHANGE("open", AT_FDCWD, path); \
    return REAL(name)(path, flags, mode);         \
  }
#define OPENAT(name)                              \
  int name(int at, const char *path, int flags, ...) { \
    va_list rest;                                 \
    va_start(rest, flags);                        \
    mode_t mode = mode_of(flags, rest);           \
    va_end(rest);                                 \
    if (flags & WRITES) CHANGE("open", at, path); \
    return REAL(name)(at, path, flags, mode);     \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                    \
  FILE *name(const char *path, const char *mode) {     \
    if (strpbrk(mode, "wa+")) CHANGE("open", AT_FDCWD, path); \
    return REAL(name)(path, mode);                     \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *data, size_t size) {
  if (file == journal || !ends("write", file, NULL)) return REAL(write)(file, data, size);
  (void)!REAL(write)(file, data, size / 2);
  end();
  return -1;
}

#define PWRITE(name, offset_t)                                                \
  ssize_t name(int file, const void *data, size_t size, offset_t offset) {    \
    if (!ends("write", file, NULL)) return REAL(name)(file, data, size, offset); \
    (void)!REAL(name)(file, data, size / 2, offset);                          \
    end();                                                                    \
    return -1;                                                                \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count) {
  if (!ends("write", file, NULL)) return REAL(writev)(file, parts, count);
  (void)!REAL(write)(file, parts[0].iov_base, parts[0].iov_len / 2);
  end();
  return -1;
}

#define OF_PATH(name, kind)          \
  int name(const char *path) {       \
    CHANGE(kind, AT_FDCWD, path);    \
    return REAL(name)(path);         \
  }
OF_PATH(unlink, "remove")
OF_PATH(remove, "remove")
OF_PATH(rmdir, "remove")

int unlinkat(int at, const char *path, int flags) {
  CHANGE("remove", at, path);
  return REAL(unlinkat)(at, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  CHANGE("mkdir", AT_FDCWD, path);
  return REAL(mkdir)(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
  CHANGE("mkdir", at, path);
  return REAL(mkdirat)(at, path, mode);
}

int rename(const char *from, const char *to) {
  if (ends_at("rename", AT_FDCWD, to, AT_FDCWD, from)) end();
  return REAL(rename)(from, to);
}

int renameat(int from_at, const char *from, int at, const char *to) {
  if (ends_at("rename", at, to, from_at, from)) end();
  return REAL(renameat)(from_at, from, at, to);
}

int renameat2(int from_at, const char *from, int at, const char *to, unsigned flags) {
  if (ends_at("rename", at, to, from_at, from)) end();
  return REAL(renameat2)(from_at, from, at, to, flags);
}

int fsync(int file) {
  CHANGE("fsync", file, NULL);
  return REAL(fsync)(file);
}

int fdatasync(int file) {
  CHANGE("fsync", file, NULL);
  return REAL(fdatasync)(file);
}

int ftruncate(int file, off_t size) {
  CHANGE("truncate", file, NULL);
  return REAL(ftruncate)(file, size);
}

int ftruncate64(int file, off64_t size) {
  CHANGE("truncate", file, NULL);
  return REAL(ftruncate64)(file, size);
}

int truncate(const char *path, off_t size) {
  CHANGE("truncate", AT_FDCWD, path);
  return REAL(truncate)(path, size);
}
