// TileGroupExecutor: threads for the tile groups of one segment, which do not depend on each other.
//
// Called by EncodeSegment (codec/segment.h); implemented where the threads are. Thread-safe: any number of
// threads call Run() at the same time.
//
//   executor.Run(shape.groups(), &ws, [&](uint32_t g, Workspace& own) { parts[g] = Encode(g, own); });
#ifndef KVCOMPD_CODEC_TILE_GROUP_EXECUTOR_H_
#define KVCOMPD_CODEC_TILE_GROUP_EXECUTOR_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "codec/codec.h"

namespace kvcompd::codec {

class TileGroupExecutor {
 public:
  using Job = absl::FunctionRef<void(uint32_t, Workspace&)>;

  virtual ~TileGroupExecutor() = default;
  // Calls job(i, workspace) once for every i under n, in any order, some at the same time: on the calling
  // thread with *ws, on others with a workspace of theirs. Returns when every call has returned, and sees
  // what they wrote; `job` is not touched after that. No call may wait for another.
  virtual void Run(uint32_t n, Workspace* ws, Job job) = 0;
};

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_TILE_GROUP_EXECUTOR_H_
