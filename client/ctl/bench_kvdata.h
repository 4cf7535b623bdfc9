// What codec kvcomp makes of real KV caches: rate, and the error bound checked for every value.
//
// Called by `kvcompctl bench kvdata`; no daemon takes part. Every sample of a folder is cut into blocks of 64
// tokens, each encoded to a whole container, decoded from it, and compared with the original in double by
// bound_check.h, which shares no code with the codec.
//
//   auto rows = MeasureKvdata("tests/data", {.rels = {0.05, 0.1}});    // StatusOr
//   for (const KvdataRow& row : *rows) ok &= row.violations == 0;
//
// Thread-safety: free functions; one call runs on the caller's thread.
#ifndef KVCOMPD_CLIENT_CTL_BENCH_KVDATA_H_
#define KVCOMPD_CLIENT_CTL_BENCH_KVDATA_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/kv_file.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"

namespace kvcompd::client {

struct KvdataOptions {
  std::vector<double> rels = {0.01, 0.05, 0.1, 0.2};  // rel_k = rel_v; as Profile allows
  std::vector<KUnit> k_units = {KUnit::kBlock, KUnit::kChannel};
};

// One sample, setting and tensor. Byte counts are sums over the sample's blocks.
struct KvdataRow {
  std::string model;
  std::string sample;
  DType dtype = DType::kBf16;
  KUnit k_unit = KUnit::kBlock;
  double rel = 0;
  bool trained = false;          // books trained on this sample; else the built-in ones
  std::optional<Tensor> tensor;  // nothing: K and V together
  uint64_t values = 0;
  uint64_t raw_bytes = 0;
  uint64_t payload_bytes = 0;  // tile payloads and group headers
  // Whole containers, and the trained codebook set once. K and V bear their own segments and half of the
  // rest.
  double stored_bytes = 0;
  uint64_t tiles = 0;
  uint64_t raw_tiles = 0;
  double max_error_over_r = 0;  // max |x-y| / r; r = rel * range / 2
  uint64_t violations = 0;      // values outside the bound

  double ratio_codec() const { return static_cast<double>(raw_bytes) / static_cast<double>(payload_bytes); }
  double ratio_effective() const { return static_cast<double>(raw_bytes) / stored_bytes; }
  double bits_per_value() const { return stored_bytes * 8 / static_cast<double>(values); }
  double raw_tile_share() const { return static_cast<double>(raw_tiles) / static_cast<double>(tiles); }
};

// Rows for K, V and both of one sample and setting. DATA_LOSS: what was encoded does not decode.
absl::StatusOr<std::vector<KvdataRow>> MeasureSample(const KvFile& file, KUnit k_unit, double rel,
                                                     bool trained);

// Every *.kv.bf16.npy and *.kv.f16.npy of the folder, by name. NOT_FOUND: there is none. progress, if set, is
// called with each sample's name before it is measured.
absl::StatusOr<std::vector<KvdataRow>> MeasureKvdata(
    const std::string& folder, const KvdataOptions& options,
    const std::function<void(const std::string&)>& progress = {});

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_BENCH_KVDATA_H_
