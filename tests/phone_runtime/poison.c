// LD_PRELOAD for a runner: memory that is given back cannot be used again without showing. An unmapped range stays, with no access: a
// read of it is a SIGSEGV. A freed block stays, full of 0xFF: as float32 that is NaN, as a pointer a SIGSEGV. Without this, such a
// read gives what happens to stand there, often the right value.
// Build: CC -O1 -fno-builtin -shared -fPIC. Nothing is ever reused, so this is for small programs.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int munmap(void *start, size_t length) { return mprotect(start, length, PROT_NONE); }

void free(void *block) {
  if (block) memset(block, 0xFF, malloc_usable_size(block));
}

void *realloc(void *block, size_t size) {
  void *larger = malloc(size);
  if (block && larger) {
    size_t old = malloc_usable_size(block);
    memcpy(larger, block, old < size ? old : size);
    free(block);
  }
  return larger;
}
