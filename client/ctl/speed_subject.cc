#include "client/ctl/speed_subject.h"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/sample_coder.h"
#include "client/ctl/sample_packing.h"
#include "codec/base/crc32c.h"
#include "codec/codebook.h"
#include "codec/packkv_tuner.h"
#include "codec/segment.h"

namespace kvcompd::client {
namespace {

constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};
// More than any codec's segment headers, indices and padding add to a unit.
constexpr uint64_t kUnitSlack = 16 << 10;

// The encoded form of every different unit, repeated along a ring as the values are.
class EncodedRing {
 public:
  EncodedRing(const SpeedUnits& units, const std::vector<std::string>& base) : num_base_(base.size()) {
    uint64_t bytes = 0;
    for (const std::string& unit : base) {
      offsets_.push_back(bytes);
      bytes += AlignedSize(unit.size());
      sizes_.push_back(unit.size());
    }
    base_bytes_ = bytes;
    const size_t copies = (units.num_units() + num_base_ - 1) / num_base_;
    ring_.resize(copies * base_bytes_);
    for (size_t copy = 0; copy < copies; ++copy) {
      for (size_t i = 0; i < num_base_; ++i) {
        std::memcpy(ring_.data() + copy * base_bytes_ + offsets_[i], base[i].data(), base[i].size());
      }
    }
  }
  ByteSpan unit(size_t i) const {
    return ByteSpan(ring_).subspan(i / num_base_ * base_bytes_ + offsets_[i % num_base_],
                                   sizes_[i % num_base_]);
  }
  double RatioTo(uint64_t raw_bytes) const {
    uint64_t bytes = 0;
    for (const uint64_t size : sizes_) bytes += size;
    return static_cast<double>(raw_bytes) / static_cast<double>(bytes);
  }

 private:
  static uint64_t AlignedSize(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

  const size_t num_base_;
  uint64_t base_bytes_ = 0;
  std::vector<uint64_t> offsets_;
  std::vector<uint64_t> sizes_;
  std::vector<std::byte> ring_;
};

class Codec final : public SpeedSubject {
 public:
  Codec(SpeedUnits* units, uint32_t threads, const Profile& profile)
      : units_(units),
        params_{.profile = profile},
        codec_(*codec::FindCodec(profile.codec)),
        workspaces_(threads) {
    name_ = profile.Text();
  }

  absl::Status Prepare() {
    const BenchDataset& dataset = units_->dataset();
    const Fingerprint fingerprint = dataset.samples[0].Descriptor(SampleCoder::kBlockTokens).Fingerprint();
    codec::CodebookTrainer trainer(fingerprint, params_.profile);
    for (const KvFile& file : dataset.samples) {
      const auto histograms = SampleCoder(file, params_.profile).CountCodes();
      if (!histograms.ok()) return histograms.status();
      histograms->AddTo(&trainer);
    }
    set_ = trainer.Build();
    std::vector<const KvFile*> files;
    for (const KvFile& file : dataset.samples) files.push_back(&file);
    const auto packing = TunePacking(files, params_.profile);
    if (!packing.ok()) return packing.status();
    packing_ = *packing;
    std::vector<std::string> encoded;
    for (size_t unit = 0; unit < units_->num_base(); ++unit) {
      Encode(0, unit);
      const MutableByteSpan out = units_->Out(unit);
      const uint64_t bytes = *codec::SegmentView::SegmentBytes(out.first(64));
      const uint64_t more = *codec::SegmentView::SegmentBytes(out.subspan(bytes, 64));
      encoded.emplace_back(AsChars(ByteSpan(out).first(bytes + more)));
    }
    ring_ = std::make_unique<EncodedRing>(*units_, encoded);
    ratio_ = ring_->RatioTo(units_->unit_bytes() * units_->num_base());
    for (size_t unit = 0; unit < units_->num_base(); ++unit) {
      Decode(0, unit);
      const ByteSpan out = ByteSpan(units_->Out(unit)).first(units_->unit_bytes());
      if (failed_ ||
          (codec_.bit_exact() && std::memcmp(out.data(), units_->Values(unit).data(), out.size()) != 0)) {
        return absl::DataLossError(absl::StrCat(name_, ": a unit does not come back"));
      }
    }
    return absl::OkStatus();
  }

  void Encode(uint32_t thread, size_t unit) override {
    const SpeedUnits::Base& base = units_->base(unit);
    ByteSpan values = units_->Values(unit);
    MutableByteSpan out = units_->Out(unit);
    for (const Tensor tensor : kTensors) {
      const codec::SegmentShape shape = base.header->segment_shape(tensor);
      const codec::SegmentPlace place = base.header->place(base.layer, tensor);
      codec::EncodeParams params = params_;
      params.book = Book(place);
      params.packing = packing_.of(tensor);
      const auto bytes = codec::EncodeSegment(codec_, place, shape, values.first(shape.raw_bytes()), params,
                                              &workspaces_[thread], out, nullptr);
      if (!bytes.ok()) {
        failed_ = true;
        return;
      }
      values = values.subspan(shape.raw_bytes());
      out = out.subspan(*bytes);
    }
  }

  void Decode(uint32_t thread, size_t unit) override {
    const SpeedUnits::Base& base = units_->base(unit);
    ByteSpan encoded = ring_->unit(unit);
    MutableByteSpan out = units_->Out(unit);
    for (const Tensor tensor : kTensors) {
      const auto bytes = codec::SegmentView::SegmentBytes(encoded.first(64));
      const auto view = bytes.ok() ? codec::SegmentView::Parse(encoded.first(*bytes))
                                   : absl::StatusOr<codec::SegmentView>(bytes.status());
      if (!view.ok()) {
        failed_ = true;
        return;
      }
      const codec::SegmentPlace place = base.header->place(base.layer, tensor);
      const uint64_t raw_bytes = view->shape().raw_bytes();
      if (!view->Decode(place, 0, view->shape().heads, Book(place), &workspaces_[thread],
                        out.first(raw_bytes))
               .ok()) {
        failed_ = true;
        return;
      }
      encoded = encoded.subspan(*bytes);
      out = out.subspan(raw_bytes);
    }
  }

 private:
  const codec::Codebook* Book(const codec::SegmentPlace& place) const {
    return set_ == nullptr ? nullptr : set_->Find(place.layer, place.tensor);
  }

  SpeedUnits* units_;
  const codec::EncodeParams params_;
  const codec::Codec& codec_;
  std::shared_ptr<const codec::CodebookSet> set_;
  codec::PackkvChoices packing_;
  std::vector<codec::Workspace> workspaces_;
  std::unique_ptr<EncodedRing> ring_;
};

// A general compressor with a context for each thread.
class Compressor : public SpeedSubject {
 public:
  void Decode(uint32_t thread, size_t unit) override {
    const ByteSpan encoded = ring_->unit(unit);
    const MutableByteSpan out = units_->Out(unit).first(units_->unit_bytes());
    if (DecodeTo(thread, encoded, out) != out.size()) failed_ = true;
  }
  void Encode(uint32_t thread, size_t unit) override {
    if (EncodeTo(thread, units_->Values(unit), units_->Out(unit)) == 0) failed_ = true;
  }

 protected:
  explicit Compressor(SpeedUnits* units) : units_(units) {}
  // Bytes written; 0: failed.
  virtual size_t EncodeTo(uint32_t thread, ByteSpan values, MutableByteSpan out) = 0;
  virtual size_t DecodeTo(uint32_t thread, ByteSpan encoded, MutableByteSpan out) = 0;

  void Prepare() {
    std::vector<std::string> encoded;
    for (size_t unit = 0; unit < units_->num_base(); ++unit) {
      const MutableByteSpan out = units_->Out(unit);
      encoded.emplace_back(AsChars(ByteSpan(out).first(EncodeTo(0, units_->Values(unit), out))));
    }
    ring_ = std::make_unique<EncodedRing>(*units_, encoded);
    ratio_ = ring_->RatioTo(units_->unit_bytes() * units_->num_base());
  }

 private:
  SpeedUnits* units_;
  std::unique_ptr<EncodedRing> ring_;
};

class Zstd final : public Compressor {
 public:
  Zstd(SpeedUnits* units, uint32_t threads, int level) : Compressor(units), level_(level) {
    name_ = absl::StrCat("zstd -", level);
    for (uint32_t t = 0; t < threads; ++t) {
      encoders_.emplace_back(ZSTD_createCCtx(), &ZSTD_freeCCtx);
      decoders_.emplace_back(ZSTD_createDCtx(), &ZSTD_freeDCtx);
    }
    Prepare();
  }

 protected:
  size_t EncodeTo(uint32_t thread, ByteSpan values, MutableByteSpan out) override {
    const size_t n = ZSTD_compressCCtx(encoders_[thread].get(), out.data(), out.size(), values.data(),
                                       values.size(), level_);
    return ZSTD_isError(n) ? 0 : n;
  }
  size_t DecodeTo(uint32_t thread, ByteSpan encoded, MutableByteSpan out) override {
    const size_t n =
        ZSTD_decompressDCtx(decoders_[thread].get(), out.data(), out.size(), encoded.data(), encoded.size());
    return ZSTD_isError(n) ? 0 : n;
  }

 private:
  const int level_;
  std::vector<std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)>> encoders_;
  std::vector<std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)>> decoders_;
};

class Lz4 final : public Compressor {
 public:
  explicit Lz4(SpeedUnits* units) : Compressor(units) {
    name_ = "lz4";
    Prepare();
  }

 protected:
  size_t EncodeTo(uint32_t thread, ByteSpan values, MutableByteSpan out) override {
    return static_cast<size_t>(LZ4_compress_default(
        reinterpret_cast<const char*>(values.data()), reinterpret_cast<char*>(out.data()),
        static_cast<int>(values.size()), static_cast<int>(out.size())));
  }
  size_t DecodeTo(uint32_t thread, ByteSpan encoded, MutableByteSpan out) override {
    const int n = LZ4_decompress_safe(reinterpret_cast<const char*>(encoded.data()),
                                      reinterpret_cast<char*>(out.data()), static_cast<int>(encoded.size()),
                                      static_cast<int>(out.size()));
    return n < 0 ? 0 : static_cast<size_t>(n);
  }
};

class Memcpy final : public SpeedSubject {
 public:
  Memcpy(SpeedUnits* units, bool checked) : units_(units), checked_(checked) {
    name_ = checked ? "memcpy+crc32c" : "memcpy";
  }
  void Encode(uint32_t thread, size_t unit) override { Decode(thread, unit); }
  void Decode(uint32_t thread, size_t unit) override {
    const ByteSpan values = units_->Values(unit);
    const MutableByteSpan out = units_->Out(unit).first(values.size());
    std::memcpy(out.data(), values.data(), values.size());
    if (!checked_) return;
    if (Crc32c(out) == 0) zero_crcs_.fetch_add(1, std::memory_order_relaxed);  // looked at, so computed
  }

 private:
  SpeedUnits* units_;
  const bool checked_;
  std::atomic<uint64_t> zero_crcs_{0};
};

}  // namespace

SpeedUnits::SpeedUnits(const BenchDataset& dataset, uint64_t ring_bytes) : dataset_(dataset) {
  const KvFile& first = dataset.samples[0];
  const uint64_t tensor_bytes = first.TensorBytes(SampleCoder::kBlockTokens);
  unit_bytes_ = 2 * tensor_bytes;
  out_stride_ = unit_bytes_ + unit_bytes_ / 64 + kUnitSlack;
  std::vector<std::byte> values;
  for (const KvFile& file : dataset.samples) {
    SampleCoder coder(file, Profile{});
    for (const SampleCoder::Block& block : coder.Blocks(nullptr)) {
      if (block.header.tokens != SampleCoder::kBlockTokens) continue;
      headers_.push_back(std::make_unique<codec::BlockHeader>(block.header));
      for (uint32_t layer = 0; layer < file.layers; ++layer) {
        base_.push_back({headers_.back().get(), layer});
        for (const Tensor tensor : kTensors) {
          const auto part = coder.Values(block, layer, tensor);
          if (part.ok()) values.insert(values.end(), part->begin(), part->end());
        }
      }
    }
  }
  num_units_ = std::max<size_t>(base_.size(), (ring_bytes + unit_bytes_ - 1) / unit_bytes_);
  values_.resize(num_units_ * unit_bytes_);
  for (size_t unit = 0; unit < num_units_; ++unit) {
    std::memcpy(values_.data() + unit * unit_bytes_, values.data() + unit % base_.size() * unit_bytes_,
                unit_bytes_);
  }
  out_.resize(num_units_ * out_stride_);
}

absl::StatusOr<std::unique_ptr<SpeedSubject>> CodecSubject(SpeedUnits* units, uint32_t threads,
                                                           const Profile& profile) {
  auto subject = std::make_unique<Codec>(units, threads, profile);
  if (absl::Status s = subject->Prepare(); !s.ok()) return s;
  return std::unique_ptr<SpeedSubject>(std::move(subject));
}

std::unique_ptr<SpeedSubject> ZstdSubject(SpeedUnits* units, uint32_t threads, int level) {
  return std::make_unique<Zstd>(units, threads, level);
}
std::unique_ptr<SpeedSubject> Lz4Subject(SpeedUnits* units) { return std::make_unique<Lz4>(units); }
std::unique_ptr<SpeedSubject> MemcpySubject(SpeedUnits* units, bool checked) {
  return std::make_unique<Memcpy>(units, checked);
}

}  // namespace kvcompd::client
