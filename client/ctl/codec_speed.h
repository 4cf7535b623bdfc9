// How fast profiles encode and decode, checksums included, beside memcpy, zstd and LZ4 in the same run.
//
// Called by the codec bench. One call at a time; it uses as many threads as it is told.
//
//   auto report = MeasureSpeed(dataset, profiles, {.repeats = 5});
//   report->rows[0].decode_gbps;                     // median; 1e9 uncompressed bytes a second
//
// A unit of work is K and V of one layer of a block of 64 tokens, all heads: two segments, or one buffer for
// the baselines. Cache-resident: the same few units over and over, 256 KiB of values at most.
// Memory-resident: units in turn out of rings twice as long as the last-level cache. With several threads
// each has a part of the rings. In every repeat the baselines run beside each profile, so that ratios of the
// same moment can be taken.
#ifndef KVCOMPD_CLIENT_CTL_CODEC_SPEED_H_
#define KVCOMPD_CLIENT_CTL_CODEC_SPEED_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/bench_dataset.h"
#include "codec/base/profile.h"

namespace kvcompd::client {

struct SpeedOptions {
  uint32_t repeats = 5;
  double seconds = 0.03;             // of one measurement
  std::vector<uint32_t> threads;     // empty: 1, and as many as there are cores where that is more
  bool cache = true, memory = true;  // which residence is measured
};

struct SpeedRow {
  std::string name;  // the profile's text, or the baseline's name
  bool baseline = false;
  uint32_t threads = 1;
  bool memory_resident = false;
  double ratio = 1;  // uncompressed bytes over segments, or over what the baseline wrote
  double encode_gbps = 0;
  double decode_gbps = 0;
  // Medians of the ratios within each repeat; 0 for the baselines.
  double encode_over_zstd = 0;
  double decode_over_zstd = 0;
  double decode_over_memcpy = 0;
};

struct SpeedReport {
  std::string dataset;
  DType dtype = DType::kBf16;
  std::vector<SpeedRow> rows;  // profiles, then "memcpy", "memcpy+crc32c", "zstd -3", "lz4"
};

absl::StatusOr<SpeedReport> MeasureSpeed(const BenchDataset& dataset, const std::vector<Profile>& profiles,
                                         const SpeedOptions& options,
                                         const std::function<void(const std::string&)>& progress = {});

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_CODEC_SPEED_H_
