#include "client/ctl/bench_kvdata.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/bound_check.h"
#include "codec/base/chain_hash.h"
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
      : file_(file),
        profile_(profile),
        descriptor_(file.Descriptor(kKvdataBlockTokens)),
        fingerprint_(descriptor_.Fingerprint()) {}

  // With the built-in books for a null set.
  absl::Status Run(std::shared_ptr<const codec::CodebookSet> set);
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
  struct Block {
    codec::BlockHeader header;
    uint32_t first_token = 0;
  };

  std::vector<Block> Blocks(const codec::CodebookSet* set) const;
  absl::Status RunBlock(const Block& block, const codec::CodebookSet* set);
  absl::StatusOr<std::string> EncodeSegmentOf(const Block& block, uint32_t layer, Tensor tensor,
                                              const codec::CodebookSet* set, codec::EncodeStats* stats);
  absl::Status CheckSegment(const codec::ContainerView& view, uint32_t layer, Tensor tensor,
                            const codec::CodebookSet* set, uint32_t first_token);
  absl::Status LoadValues(uint32_t layer, Tensor tensor, uint32_t first_token, uint32_t tokens) {
    values_.resize(file_.TensorBytes(tokens));
    return file_.CopyTokens(layer, tensor, first_token, tokens, values_);
  }

  const KvFile& file_;
  const Profile profile_;
  const ModelDescriptor descriptor_;
  const Fingerprint fingerprint_;
  const codec::Codec& codec_ = *codec::FindCodec(CodecId::kKvcomp);
  codec::Workspace workspace_;
  std::vector<std::byte> values_;   // [heads, tokens, channels]
  std::vector<std::byte> decoded_;  // the same
  Sums sums_[2];
  uint64_t container_bytes_ = 0;
  uint64_t codebook_bytes_ = 0;
  bool trained_ = false;
};

std::vector<SampleRun::Block> SampleRun::Blocks(const codec::CodebookSet* set) const {
  const std::vector<BlockKey> keys =
      ChainKeys(file_.token_ids, kKvdataBlockTokens, /*extra_keys=*/{}, /*include_tail=*/true);
  std::vector<Block> blocks;
  for (const BlockKey& key : keys) {
    Block block;
    block.first_token = static_cast<uint32_t>(blocks.size()) * kKvdataBlockTokens;
    block.header.fingerprint = fingerprint_;
    block.header.key = key;
    block.header.shard = {.head_count = file_.kv_heads, .layer_count = file_.layers};
    block.header.tokens = std::min(kKvdataBlockTokens, file_.tokens - block.first_token);
    block.header.dtype = file_.dtype;
    block.header.head_dim_k = file_.head_dim;
    block.header.head_dim_v = file_.head_dim;
    block.header.layers = descriptor_.groups[0].layers;
    block.header.profile = profile_.Text();
    if (set != nullptr) block.header.codebook_set = set->id();
    block.header.error_bound = static_cast<float>(profile_.ErrorBound());
    blocks.push_back(std::move(block));
  }
  return blocks;
}

absl::StatusOr<std::string> SampleRun::EncodeSegmentOf(const Block& block, uint32_t layer, Tensor tensor,
                                                       const codec::CodebookSet* set,
                                                       codec::EncodeStats* stats) {
  absl::Status status = LoadValues(layer, tensor, block.first_token, block.header.tokens);
  if (!status.ok()) return status;
  const codec::SegmentShape shape = block.header.segment_shape(tensor);
  const codec::SegmentPlace place = block.header.place(layer, tensor);
  codec::EncodeParams params{.profile = profile_};
  if (set != nullptr) params.book = set->Find(place.layer, tensor);
  std::string out(codec::SegmentBound(shape, codec_), '\0');
  const MutableByteSpan room(reinterpret_cast<std::byte*>(out.data()), out.size());
  const auto bytes = codec::EncodeSegment(codec_, place, shape, values_, params, &workspace_, room, stats);
  if (!bytes.ok()) return bytes.status();
  out.resize(*bytes);
  return out;
}

absl::Status SampleRun::CheckSegment(const codec::ContainerView& view, uint32_t layer, Tensor tensor,
                                     const codec::CodebookSet* set, uint32_t first_token) {
  const auto segment = view.Segment(layer, tensor);
  if (!segment.ok()) return segment.status();
  const codec::SegmentShape& shape = segment->shape();
  absl::Status status = LoadValues(layer, tensor, first_token, shape.tokens);
  if (!status.ok()) return status;
  decoded_.resize(values_.size());
  const codec::SegmentPlace place = view.header().place(layer, tensor);
  const codec::Codebook* book = set == nullptr ? nullptr : set->Find(place.layer, tensor);
  status = segment->Decode(place, 0, shape.heads, book, &workspace_, decoded_);
  if (!status.ok()) return status;

  const BoundSpec spec =
      BoundSpecOf(profile_, tensor, shape.dtype, shape.heads, shape.tokens, shape.channels);
  const auto report = CheckBound(spec, values_, decoded_);
  if (!report.ok()) return report.status();
  Sums& sums = sums_[IndexOf(tensor)];
  sums.values += report->values;
  sums.violations += report->violations;
  sums.max_error_over_r = std::max(sums.max_error_over_r, report->max_error_over_r);
  return absl::OkStatus();
}

absl::Status SampleRun::RunBlock(const Block& block, const codec::CodebookSet* set) {
  codec::ContainerWriter writer(block.header);
  codec::EncodeStats block_stats;
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (const Tensor tensor : kTensors) {
      codec::EncodeStats stats;
      const auto segment = EncodeSegmentOf(block, layer, tensor, set, &stats);
      if (!segment.ok()) return segment.status();
      const absl::Status status = writer.AddSegment(AsBytes(*segment));
      if (!status.ok()) return status;
      sums_[IndexOf(tensor)].encode.Add(stats);
      sums_[IndexOf(tensor)].segment_bytes += segment->size();
      block_stats.Add(stats);
    }
  }
  const auto container = std::move(writer).Finish({.tiles = static_cast<uint32_t>(block_stats.tiles),
                                                   .raw_tiles = static_cast<uint32_t>(block_stats.raw_tiles),
                                                   .raw_bytes = block_stats.raw_bytes});
  if (!container.ok()) return container.status();
  container_bytes_ += container->size();
  const auto view = codec::ContainerView::Parse(AsBytes(*container));
  if (!view.ok()) return view.status();
  for (uint32_t layer = 0; layer < file_.layers; ++layer) {
    for (const Tensor tensor : kTensors) {
      const absl::Status status = CheckSegment(*view, layer, tensor, set, block.first_token);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status SampleRun::Run(std::shared_ptr<const codec::CodebookSet> set) {
  trained_ = set != nullptr;
  if (trained_) codebook_bytes_ = set->canonical_bytes().size();
  for (const Block& block : Blocks(set.get())) {
    const absl::Status status = RunBlock(block, set.get());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const codec::CodebookSet>> SampleRun::Train() {
  codec::CodebookTrainer trainer(fingerprint_, profile_);
  for (const Block& block : Blocks(nullptr)) {
    for (uint32_t layer = 0; layer < file_.layers; ++layer) {
      for (const Tensor tensor : kTensors) {
        std::vector<uint32_t> histogram(codec::kMaxSymbols);
        codec::EncodeStats stats;
        stats.histogram = &histogram;
        const auto segment = EncodeSegmentOf(block, layer, tensor, nullptr, &stats);
        if (!segment.ok()) return segment.status();
        trainer.Add(block.header.layers[layer], tensor, histogram);
      }
    }
  }
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
  status = run.Run(std::move(set));
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
