// What compression does to attention: the outputs of a sample's real queries over original and over served
// KV.
//
// Called by the demo. Pure functions; any thread.
//
//   auto report = CompareAttention(file, memory, /*tokens=*/256);
//   report->relative_l2;                       // |o' - o| / |o| over all outputs
#ifndef KVCOMPD_CLIENT_CTL_ATTENTION_CHECK_H_
#define KVCOMPD_CLIENT_CTL_ATTENTION_CHECK_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/ctl/sample.h"
#include "client/kv_file.h"

namespace kvcompd::client {

struct AttentionReport {
  uint64_t outputs = 0;       // vectors: layers x queries x heads
  double relative_l2 = 0;     // over all outputs
  double worst_layer_l2 = 0;  // the same over the worst layer
  uint32_t worst_layer = 0;
};

// softmax(q k / sqrt(head_dim)) v with a causal mask, in double. tokens: of the sample, from its first on,
// that memory holds; queries of later tokens are left out. FAILED_PRECONDITION: the sample has no queries, or
// none is left, or it does not start its text (keys of the context are then missing).
absl::StatusOr<AttentionReport> CompareAttention(const KvFile& file, const SampleMemory& memory,
                                                 uint32_t tokens);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_ATTENTION_CHECK_H_
