/* Counts what torch's CPU allocator holds: blocks of posix_memalign, of all threads.
 *
 * Loaded before the C library (LD_PRELOAD); read through ctypes: allocated_bytes(), peak_bytes(),
 * reset_peak(). Blocks are kept in a table by address (open addressing), since free() does not say
 * where a block came from.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define SLOTS (1u << 22)
#define GONE ((uintptr_t)1)

static uintptr_t addresses[SLOTS];
static size_t sizes[SLOTS];
static long long live, peak;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*real_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static uint32_t slot_of(uintptr_t address) {
    return (uint32_t)((address >> 6) * 0x9E3779B97F4A7C15ull >> 42) & (SLOTS - 1);
}

static void add(uintptr_t address, size_t size) {
    pthread_mutex_lock(&lock);
    uint32_t slot = slot_of(address);
    while (addresses[slot] > GONE) slot = (slot + 1) & (SLOTS - 1);
    addresses[slot] = address;
    sizes[slot] = size;
    live += (long long)size;
    if (live > peak) peak = live;
    pthread_mutex_unlock(&lock);
}

static void drop(uintptr_t address) {
    pthread_mutex_lock(&lock);
    for (uint32_t slot = slot_of(address); addresses[slot]; slot = (slot + 1) & (SLOTS - 1)) {
        if (addresses[slot] != address) continue;
        addresses[slot] = GONE;
        live -= (long long)sizes[slot];
        break;
    }
    pthread_mutex_unlock(&lock);
}

int posix_memalign(void **found, size_t alignment, size_t size) {
    if (!real_memalign) *(void **)&real_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    int failed = real_memalign(found, alignment, size);
    if (!failed && *found) add((uintptr_t)*found, size);
    return failed;
}

void free(void *block) {
    if (!real_free) *(void **)&real_free = dlsym(RTLD_NEXT, "free");
    /* Those of posix_memalign are aligned to 64 bytes at least. */
    if (block && ((uintptr_t)block & 63) == 0) drop((uintptr_t)block);
    real_free(block);
}

long long allocated_bytes(void) { return live; }
long long peak_bytes(void) { return peak; }
void reset_peak(void) { peak = live; }
