// What the codec bench times: units of work in rings of memory, and the codecs and baselines that work on
// them.
//
// Called by codec_speed.cc. Threads work on different units at the same time, each with its own number.
//
//   SpeedUnits units(dataset, /*ring_bytes=*/uint64_t{64} << 20);
//   auto subject = CodecSubject(&units, /*threads=*/1, profile);    // StatusOr
//   (*subject)->Encode(/*thread=*/0, /*unit=*/3);
#ifndef KVCOMPD_CLIENT_CTL_SPEED_SUBJECT_H_
#define KVCOMPD_CLIENT_CTL_SPEED_SUBJECT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/bench_dataset.h"
#include "codec/base/profile.h"
#include "codec/base/types.h"
#include "codec/container.h"

namespace kvcompd::client {

// K, then V, of one layer of one block, [heads, tokens, channels]: a ring of them, filled with the data set's
// again and again, and a ring for results.
class SpeedUnits {
 public:
  // Whole blocks of 64 tokens only. ring_bytes: at least so long, of uncompressed bytes.
  SpeedUnits(const BenchDataset& dataset, uint64_t ring_bytes);

  uint64_t unit_bytes() const { return unit_bytes_; }
  size_t num_units() const { return num_units_; }
  size_t num_base() const { return base_.size(); }  // different ones
  ByteSpan Values(size_t unit) const { return ByteSpan(values_).subspan(unit * unit_bytes_, unit_bytes_); }
  // Room for the results of a unit: more than its bytes.
  MutableByteSpan Out(size_t unit) { return MutableByteSpan(out_).subspan(unit * out_stride_, out_stride_); }

  struct Base {
    const codec::BlockHeader* header = nullptr;
    uint32_t layer = 0;
  };
  const Base& base(size_t unit) const { return base_[unit % base_.size()]; }
  const BenchDataset& dataset() const { return dataset_; }

 private:
  const BenchDataset& dataset_;
  uint64_t unit_bytes_ = 0;
  uint64_t out_stride_ = 0;
  size_t num_units_ = 0;
  std::vector<std::unique_ptr<codec::BlockHeader>> headers_;
  std::vector<Base> base_;
  std::vector<std::byte> values_;
  std::vector<std::byte> out_;
};

class SpeedSubject {
 public:
  virtual ~SpeedSubject() = default;
  virtual void Encode(uint32_t thread, size_t unit) = 0;
  virtual void Decode(uint32_t thread, size_t unit) = 0;
  const std::string& name() const { return name_; }
  double ratio() const { return ratio_; }  // over all different units
  bool failed() const { return failed_; }  // an operation gave an error, or other values

 protected:
  std::string name_;
  double ratio_ = 1;
  std::atomic<bool> failed_ = false;
};

// Segments with books trained on the whole data set. DATA_LOSS: a unit does not come back.
absl::StatusOr<std::unique_ptr<SpeedSubject>> CodecSubject(SpeedUnits* units, uint32_t threads,
                                                           const Profile& profile);
std::unique_ptr<SpeedSubject> ZstdSubject(SpeedUnits* units, uint32_t threads, int level);
std::unique_ptr<SpeedSubject> Lz4Subject(SpeedUnits* units);
// Copies; checked: with the CRC32C of what was copied.
std::unique_ptr<SpeedSubject> MemcpySubject(SpeedUnits* units, bool checked);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_SPEED_SUBJECT_H_
