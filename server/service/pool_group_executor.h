// PoolGroupExecutor: tile groups of a segment on the calling thread and on threads of a WorkerPool that have
// nothing else to do.
//
// Called by BlockEncoder, on threads of the pool. Thread-safe; waits for nothing but jobs that are running.
// The calling thread goes through the jobs by itself. Whoever takes one first offers the rest to one more
// idle thread. A helper is a write; it looks for waiting reads before each job and leaves for them. So a full
// pool, or one that is shutting down, only means that few or none help, and a read waits no longer than one
// job takes.
//
//   PoolGroupExecutor executor(&pool);
//   auto n = codec::EncodeSegment(codec, place, shape, values, params, &ws, out, &stats, &executor);
#ifndef KVCOMPD_SERVER_SERVICE_POOL_GROUP_EXECUTOR_H_
#define KVCOMPD_SERVER_SERVICE_POOL_GROUP_EXECUTOR_H_

#include <cstdint>

#include "codec/codec.h"
#include "codec/tile_group_executor.h"
#include "server/service/worker_pool.h"

namespace kvcompd::server {

class PoolGroupExecutor final : public codec::TileGroupExecutor {
 public:
  // pool: lives until no call runs, and no job of it.
  explicit PoolGroupExecutor(WorkerPool* pool) : pool_(pool) {}

  void Run(uint32_t n, codec::Workspace* ws, Job job) override;

 private:
  WorkerPool* const pool_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_POOL_GROUP_EXECUTOR_H_
