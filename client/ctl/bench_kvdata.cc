#include "client/ctl/bench_kvdata.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/bound_check.h"
#include "client/ctl/sample_coder.h"
#include "codec/codebook.h"
#include "codec/codec.h"
#include "codec/container.h"
#include "codec/segment.h"

namespace kvcompd::client {
namespace {

constexpr Tensor kTensors[] = {Tensor::kK, Tensor::kV};

constexpr size_t IndexOf(Tensor tensor) { return tensor == Tensor::kV ? 1 : 0; }

// Encodes one sample's blocks with one setting and adds up what came of it, K and V apart.
class SampleRun {
 public:
  SampleRun(const KvFile& file, const Profile& profile)
      : file_(file), profile_(profile), coder_(file, profile) {}

  // With the built-in books for a null set.
  absl::Status Run(const codec::CodebookSet* set);
  // Books from the codes of all blocks. Null where the profile has none.
  absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> Train();
  // K, V, and both.
  std::vector<KvdataRow> Rows() const;

 private:
  struct Sums {
    codec::EncodeStats encode;
    uint64_t segment_bytes = 0;
    uint64_t values = 0;
    double max_error_over_r = 0;
    uint64_t violations = 0;
  };

  absl::Status RunBlock(const SampleCoder::Block& block, const codec::CodebookSet* set);
  absl::Status CheckSegment(const codec::ContainerView& view, const SampleCoder::Block& block, uint32_t layer,
                            Tensor tensor, const codec::CodebookSet* set);

  const KvFile& file_;
  const Profile profile_;
  SampleCoder coder_;
  Sums sums_[2];
  uint64_t container_bytes_ = 0;
  uint64_t codebook_bytes_ = 0;
  bool trained_ = false;
};

absl::Status SampleRun::CheckSegment(const codec::ContainerView& view, const SampleCoder::Block& block,
                                     uint32_t layer, Tensor tensor, const codec::CodebookSet* set) {
  const auto values = coder_.Values(block, layer, tensor);
  if (!values.ok()) return values.status();
  const auto decoded = coder_.Decode(view, layer, tensor, set);
  if (!decoded.ok()) return decoded.status();
  const codec::SegmentShape shape = block.header.segment_shape(tensor);
  const BoundSpec spec =
      BoundSpecOf(profile_, tensor, shape.dtype, shape.heads, shape.tokens, shape.channels);
  const auto report = CheckBound(spec, *values, *decoded);
  if (!report.ok()) return report.status();
  Sums& sums = sums_[IndexOf(tensor)];
  sums.values += report->values;
  sums.violations += report->violations;
  sums.max_error_over_r = std::max(sums.max_error_over_r, report->max_error_over_r);
  return absl::OkStatus();
}

absl::Status SampleRun::RunBlock(const SampleCoder::Block& block, const codec::CodebookSet* set) {
  const auto encoded = coder_.Encode(block, set);
  if (!encoded.ok()) return encoded.status();
  container_bytes_ += encoded->container.size();
  const auto view = codec::ContainerView::Parse(AsBytes(encoded->container));
  if (!view.ok()) return view.status();
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (const Tensor tensor : kTensors) {
      const SampleCoder::Part& part = encoded->layers[layer][IndexOf(tensor)];
      sums_[IndexOf(tensor)].encode.Add(part.stats);
      sums_[IndexOf(tensor)].segment_bytes += part.segment_bytes;
      const absl::Status status = CheckSegment(*view, block, layer, tensor, set);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SampleRun::Run(const codec::CodebookSet* set) {
  trained_ = set != nullptr;
  if (trained_) codebook_bytes_ = set->canonical_bytes().size();
  for (const SampleCoder::Block& block : coder_.Blocks(set)) {
    const absl::Status status = RunBlock(block, set);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> SampleRun::Train() {
  codec::CodebookTrainer trainer(coder_.fingerprint(), profile_);
  const auto histograms = coder_.CountCodes();
  if (!histograms.ok()) return histograms.status();
  histograms->AddTo(&trainer);
  return trainer.Build();
}

std::vector<KvdataRow> SampleRun::Rows() const {
  KvdataRow common;
  common.model = file_.model;
  common.sample = file_.sample;
  common.dtype = file_.dtype;
  common.k_unit = profile_.k_unit;
  common.rel = profile_.rel_k;
  common.trained = trained_;
  const uint64_t shared_bytes =
      container_bytes_ + codebook_bytes_ - sums_[0].segment_bytes - sums_[1].segment_bytes;
  std::vector<KvdataRow> rows;
  KvdataRow both = common;
  for (const Tensor tensor : kTensors) {
    const Sums& sums = sums_[IndexOf(tensor)];
    KvdataRow row = common;
    row.tensor = tensor;
    row.values = sums.values;
    row.raw_bytes = sums.encode.raw_bytes;
    row.payload_bytes = sums.encode.payload_bytes;
    row.stored_bytes = static_cast<double>(sums.segment_bytes) + static_cast<double>(shared_bytes) / 2;
    row.tiles = sums.encode.tiles;
    row.raw_tiles = sums.encode.raw_tiles;
    row.max_error_over_r = sums.max_error_over_r;
    row.violations = sums.violations;
    both.values += row.values;
    both.raw_bytes += row.raw_bytes;
    both.payload_bytes += row.payload_bytes;
    both.stored_bytes += row.stored_bytes;
    both.tiles += row.tiles;
    both.raw_tiles += row.raw_tiles;
    both.max_error_over_r = std::max(both.max_error_over_r, row.max_error_over_r);
    both.violations += row.violations;
    rows.push_back(std::move(row));
  }
  rows.push_back(std::move(both));
  return rows;
}

}  // namespace

absl::StatusOr<std::vector<KvdataRow>> MeasureSample(const KvFile& file, KUnit k_unit, double rel,
                                                     bool trained) {
  const Profile profile{.codec = CodecId::kKvcomp, .rel_k = rel, .rel_v = rel, .k_unit = k_unit};
  absl::Status status = profile.Validate();
  if (!status.ok()) return status;
  SampleRun run(file, profile);
  std::shared_ptr<const codec::CodebookSet> set;
  if (trained) {
    auto trained_set = run.Train();
    if (!trained_set.ok()) return trained_set.status();
    set = *std::move(trained_set);
  }
  status = run.Run(set.get());
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(file.model, ".", file.sample, ": ", status.message()));
  }
  return run.Rows();
}

absl::StatusOr<std::vector<KvdataRow>> MeasureKvdata(
    const std::string& folder, const KvdataOptions& options,
    const std::function<void(const std::string&)>& progress) {
  const auto samples = FindKvFiles(folder);
  if (!samples.ok()) return samples.status();
  std::vector<KvdataRow> rows;
  for (const KvFileName& sample : *samples) {
    const auto file = LoadKvFile(sample.stem, sample.dtype);
    if (!file.ok()) return file.status();
    if (progress) progress(absl::StrCat(file->model, ".", file->sample, " ", ToAbsl(DTypeName(file->dtype))));
    for (const KUnit k_unit : options.k_units) {
      for (const double rel : options.rels) {
        for (const bool trained : {false, true}) {
          auto measured = MeasureSample(*file, k_unit, rel, trained);
          if (!measured.ok()) return measured.status();
          std::move(measured->begin(), measured->end(), std::back_inserter(rows));
        }
      }
    }
  }
  return rows;
}

}  // namespace kvcompd::client
