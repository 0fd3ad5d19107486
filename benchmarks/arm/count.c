/* TCG plugin for qemu-user (plugin API version 1, qemu 4.2 to 8.x): how often each block of guest code was executed.

   The guest asks with a system call that Linux does not have, syscall(7777, LABEL): 0 forgets what was counted,
   another label writes it to OUT.LABEL and forgets it. A line is "address of the block, its instructions, executions".
   Counters are not atomic: count programs of one thread.

       gcc -O2 -shared -fPIC -o count.so count.c        qemu-aarch64 -plugin ./count.so,out=PATH PROGRAM

   qemu's header is in no Debian package, so what is used of it is declared here (qemu/qemu-plugin.h of 7.2). */

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK 7777
#define BUCKETS 65536u
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*called)(plugin_id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t);
enum { ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, called);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t by);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = 1;

struct block {
  uint64_t address, instructions, executions;
  struct block *next;
};

static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char out[4096];

/* A block that is translated again keeps its counter. */
static struct block *counter_of(uint64_t address, uint64_t instructions) {
  struct block **place = &blocks[(address / 4) % BUCKETS];
  while (*place != NULL && ((*place)->address != address || (*place)->instructions != instructions)) {
    place = &(*place)->next;
  }
  if (*place == NULL) {
    *place = calloc(1, sizeof(struct block));
    if (*place == NULL) abort();
    (*place)->address = address;
    (*place)->instructions = instructions;
  }
  return *place;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  pthread_mutex_lock(&lock);
  struct block *block = counter_of(qemu_plugin_tb_vaddr(tb), qemu_plugin_tb_n_insns(tb));
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->executions, 1);
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t label, uint64_t b, uint64_t c, uint64_t d,
                    uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != ASK) return;
  FILE *file = NULL;
  if (label != 0) {
    char name[sizeof out + 24];
    snprintf(name, sizeof name, "%s.%" PRIu64, out, label);
    file = fopen(name, "w");
    if (file == NULL) {
      perror(name);
      exit(1);
    }
  }
  pthread_mutex_lock(&lock);
  for (unsigned n = 0; n < BUCKETS; n++) {
    for (struct block *block = blocks[n]; block != NULL; block = block->next) {
      if (file != NULL && block->executions != 0) {
        fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions,
                block->executions);
      }
      block->executions = 0;
    }
  }
  pthread_mutex_unlock(&lock);
  if (file != NULL) fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
  (void)info;
  for (int n = 0; n < count; n++) {
    if (strncmp(arguments[n], "out=", 4) == 0) snprintf(out, sizeof out, "%s", arguments[n] + 4);
  }
  if (out[0] == 0) {
    fprintf(stderr, "count.so: out=PATH is missing\n");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_call);
  return 0;
}
