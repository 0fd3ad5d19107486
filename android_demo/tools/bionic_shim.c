// What an Android library expects of bionic and glibc lacks or does otherwise, 64-bit, as far as ExecuTorch's libraries get here, and
// what loads them into a desktop JVM. Functions whose ABI differs have their first letter replaced by B (android_library.py renames
// the imports); the others are names that glibc does not have. For tests only.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Locks. bionic's objects are smaller than glibc's and aligned to 4, so glibc's do not fit in their place. One monitor stands behind
// all of them; the state is in the object's words, which bionic's initialisers set to 0 but for the first word of a mutex, its type.
// Every mutex may be locked again by its owner: a program that relies on a deadlock is none to test.
static pthread_mutex_t monitor = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct mutex { int type, owner, depth; };
struct condition { int unused; unsigned signals; };
struct rwlock { int unused, readers, writers; };

static int change(void) {
  pthread_cond_broadcast(&changed);
  return pthread_mutex_unlock(&monitor);
}
static void take(struct mutex *m, int self, int depth) {
  while (m->owner && m->owner != self) pthread_cond_wait(&changed, &monitor);
  m->owner = self;
  m->depth += depth;
}
static int self_id(void) { return (int)syscall(SYS_gettid); }

int Bthread_mutexattr_init(long *a) { *a = 0; return 0; }
int Bthread_mutexattr_destroy(long *a) { return 0; }
int Bthread_mutexattr_settype(long *a, int type) { return 0; }
int Bthread_mutex_init(struct mutex *m, const long *a) { *m = (struct mutex){0}; return 0; }
int Bthread_mutex_destroy(struct mutex *m) { return 0; }
int Bthread_mutex_lock(struct mutex *m) {
  pthread_mutex_lock(&monitor);
  take(m, self_id(), 1);
  return pthread_mutex_unlock(&monitor);
}
int Bthread_mutex_trylock(struct mutex *m) {
  int self = self_id();
  pthread_mutex_lock(&monitor);
  int busy = m->owner && m->owner != self;
  if (!busy) take(m, self, 1);
  pthread_mutex_unlock(&monitor);
  return busy ? EBUSY : 0;
}
int Bthread_mutex_unlock(struct mutex *m) {
  pthread_mutex_lock(&monitor);
  if (--m->depth == 0) m->owner = 0;
  return change();
}

int Bthread_cond_init(struct condition *c, const void *attributes) { *c = (struct condition){0}; return 0; }
int Bthread_cond_destroy(struct condition *c) { return 0; }
int Bthread_cond_timedwait(struct condition *c, struct mutex *m, const struct timespec *until) {
  pthread_mutex_lock(&monitor);
  const unsigned before = c->signals;
  const int self = m->owner, depth = m->depth;
  int result = 0;
  m->owner = m->depth = 0;
  pthread_cond_broadcast(&changed);
  while (c->signals == before && !result)
    result = until ? pthread_cond_timedwait(&changed, &monitor, until) : pthread_cond_wait(&changed, &monitor);
  take(m, self, depth);
  pthread_mutex_unlock(&monitor);
  return result;
}
int Bthread_cond_wait(struct condition *c, struct mutex *m) { return Bthread_cond_timedwait(c, m, NULL); }
int Bthread_cond_broadcast(struct condition *c) {
  pthread_mutex_lock(&monitor);
  c->signals++;
  return change();
}
int Bthread_cond_signal(struct condition *c) { return Bthread_cond_broadcast(c); }  // who waits looks again

int Bthread_rwlock_rdlock(struct rwlock *l) {
  pthread_mutex_lock(&monitor);
  while (l->writers) pthread_cond_wait(&changed, &monitor);
  l->readers++;
  return pthread_mutex_unlock(&monitor);
}
int Bthread_rwlock_wrlock(struct rwlock *l) {
  pthread_mutex_lock(&monitor);
  while (l->writers || l->readers) pthread_cond_wait(&changed, &monitor);
  l->writers = 1;
  return pthread_mutex_unlock(&monitor);
}
int Bthread_rwlock_unlock(struct rwlock *l) {
  pthread_mutex_lock(&monitor);
  if (l->writers) l->writers = 0;
  else l->readers--;
  return change();
}

int Bthread_create(pthread_t *thread, const void *attributes, void *(*body)(void *), void *argument) {
  return pthread_create(thread, NULL, body, argument);
}

// Numbers and layouts that differ.
long Bysconf(int name) {
  switch (name) {
    case 6: return sysconf(_SC_CLK_TCK);
    case 39: case 40: return sysconf(_SC_PAGESIZE);
    case 96: return sysconf(_SC_NPROCESSORS_CONF);
    case 97: return sysconf(_SC_NPROCESSORS_ONLN);
    case 98: return sysconf(_SC_PHYS_PAGES);
    case 99: return sysconf(_SC_AVPHYS_PAGES);
  }
  fprintf(stderr, "bionic shim: sysconf(%d) is not known\n", name);
  abort();
}
int Bigfillset(unsigned long *set) { *set = ~0ul; return 0; }  // bionic's sigset_t has 8 bytes
int Bthread_sigmask(int how, const unsigned long *set, unsigned long *old) {
  return syscall(SYS_rt_sigprocmask, how, set, old, sizeof *set) ? errno : 0;
}
int __xpg_strerror_r(int error, char *buffer, size_t size);
int Btrerror_r(int error, char *buffer, size_t size) { return __xpg_strerror_r(error, buffer, size); }

// Streams: fbjni and libc++abi print to &__sF[0..2], bionic's stdin, stdout and stderr.
char __sF[3][152];
static FILE *stream(void *file) {
  if (file == __sF[0]) return stdin;
  if (file == __sF[1]) return stdout;
  return file == __sF[2] ? stderr : file;
}
int Bfprintf(void *file, const char *format, va_list values) { return vfprintf(stream(file), format, values); }
int Bprintf(void *file, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int printed = vfprintf(stream(file), format, values);
  va_end(values);
  return printed;
}
int Bputs(const char *text, void *file) { return fputs(text, stream(file)); }
int Bputc(int c, void *file) { return fputc(c, stream(file)); }
size_t Bwrite(const void *data, size_t size, size_t count, void *file) { return fwrite(data, size, count, stream(file)); }
int Bflush(void *file) { return fflush(file ? stream(file) : NULL); }

// Names that glibc does not have.
char *__gnu_strerror_r(int error, char *buffer, size_t size) { return strerror_r(error, buffer, size); }
int *__errno(void) { return __errno_location(); }
void __assert2(const char *file, int line, const char *function, const char *what) {
  fprintf(stderr, "%s:%d: %s: %s\n", file, line, function, what);
  abort();
}
size_t __strlen_chk(const char *s, size_t size) { return strlen(s); }
char *__strchr_chk(const char *s, int c, size_t size) { return strchr(s, c); }
char *__strrchr_chk(const char *s, int c, size_t size) { return strrchr(s, c); }
ssize_t __write_chk(int file, const void *data, size_t count, size_t size) { return write(file, data, count); }
int __system_property_get(const char *name, char *value) { *value = 0; return 0; }
void __gcov_dump(void) {}
void __gcov_flush(void) {}
void android_set_abort_message(const char *message) { fprintf(stderr, "%s\n", message); }
int __android_log_vprint(int priority, const char *tag, const char *format, va_list values) {
  if (priority < 6) return 0;  // errors and worse
  fprintf(stderr, "%s: ", tag ? tag : "");
  vfprintf(stderr, format, values);
  return fputc('\n', stderr);
}
int __android_log_print(int priority, const char *tag, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int printed = __android_log_vprint(priority, tag, format, values);
  va_end(values);
  return printed;
}
int __android_log_write(int priority, const char *tag, const char *text) {
  return __android_log_print(priority, tag, "%s", text);
}
void __android_log_assert(const char *condition, const char *tag, const char *format, ...) {
  va_list values;
  va_start(values, format);
  __android_log_vprint(7, tag, format ? format : condition ? condition : "", values);
  abort();
}

// arm64 Android code keeps its stack guard at thread pointer + 40, inside glibc's first block of static thread-local data. A process
// whose program has none preloads this library, so that the place belongs to nobody else.
static __thread volatile long stack_guard_place[16] __attribute__((tls_model("initial-exec"))) = {1};
__attribute__((constructor)) static void take_stack_guard_place(void) { (void)stack_guard_place[0]; }

// The loader, `java -agentpath:.../libB.so`. As on Android it is one load of libexecutorch.so that brings the libraries it needs: so
// fbjni binds to the C++ runtime that libexecutorch.so exports, and exceptions pass between the two. RTLD_DEEPBIND: or all would bind
// to libstdc++, which the JVM has in the global scope. System.loadLibrary then finds the libraries loaded.
int Agent_OnLoad(void *vm, char *options, void *reserved) {
  Dl_info self;
  char path[PATH_MAX], library[PATH_MAX + sizeof "/libexecutorch.so"];
  if (!dladdr((void *)Agent_OnLoad, &self) || !realpath(self.dli_fname, path)) return -1;
  *strrchr(path, '/') = 0;
  snprintf(library, sizeof library, "%s/libexecutorch.so", path);
  if (dlopen(library, RTLD_NOW | RTLD_DEEPBIND)) return 0;
  fprintf(stderr, "bionic shim: %s\n", dlerror());
  return -1;
}
