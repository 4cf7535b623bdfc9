// `kvcompctl demo-decode`: the demo's second process. Matches the samples' prefixes, reads them in both
// forms, checks every value and every byte, and prints what it found as JSON.

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/ctl/attention_check.h"
#include "client/ctl/demo_case.h"
#include "client/ctl/proto_text.h"
#include "client/ctl/sample_stats.h"
#include "codec/container.h"

namespace kvcompd::client {
namespace {

struct FormTimes {
  std::vector<double> ms;  // of each call
  double bytes = 0;
  double seconds = 0;

  Json ToJson() const {
    return {{"calls", ms.size()},
            {"gb_per_s", seconds > 0 ? bytes / seconds / 1e9 : 0.0},
            {"p50_ms", Percentile(ms, 0.5)},
            {"p99_ms", Percentile(ms, 0.99)}};
  }
};

// Sizes of the distinct blocks of a case.
struct StoredSizes {
  std::set<BlockKey> keys;
  std::set<Digest> trained_sets;
  uint64_t trained_blocks = 0;
  uint64_t raw_bytes = 0;
  uint64_t payload_bytes = 0;    // tile payloads and group headers
  uint64_t container_bytes = 0;  // and headers, indices, padding, footers
  uint64_t codebook_bytes = 0;   // of trained sets, once each
};

class CaseReader {
 public:
  CaseReader(const DemoCase& demo_case, OpenedDemoCase& opened, uint32_t repeats, DemoFailures* failures)
      : case_(demo_case), opened_(opened), repeats_(repeats), failures_(failures) {}

  absl::StatusOr<Json> Run() {
    for (const DemoSample& sample : opened_.samples) {
      sample_ = &sample;
      absl::Status status = ReadSample();
      if (!status.ok()) return absl::Status(status.code(), absl::StrCat(sample.name, ": ", status.message()));
    }
    for (const Digest& id : sizes_.trained_sets) {
      const auto set = opened_.ns->GetCodebooks(id);
      if (!set.ok()) return set.status();
      sizes_.codebook_bytes += (*set)->canonical_bytes().size();
    }
    return Report();
  }

 private:
  std::string Where(absl::string_view what) const {
    return absl::StrCat(sample_->name, ", ", case_.profile, ", ", what);
  }

  absl::Status ReadSample() {
    absl::Status status = CheckMatch();
    if (status.ok()) status = MeasureContainers();
    if (!status.ok()) return status;
    auto decoded = SampleMemory::Create(sample_->file);
    auto encoded = SampleMemory::Create(sample_->file);
    if (!decoded.ok()) return decoded.status();
    if (!encoded.ok()) return encoded.status();
    // Different fillings: bytes that nobody wrote cannot pass for equal.
    (*decoded)->Fill(std::byte{0xa5});
    (*encoded)->Fill(std::byte{0x5a});
    status = GetAll(Form::kDecoded, **decoded, &decoded_);
    if (status.ok()) status = GetAll(Form::kEncoded, **encoded, &encoded_);
    if (status.ok()) status = CompareForms(**decoded, **encoded);
    if (status.ok()) status = CheckValues(**decoded);
    for (uint32_t i = 2; status.ok() && i < repeats_; ++i) {
      status = GetAll(Form::kDecoded, **decoded, &decoded_);
      if (status.ok()) status = GetAll(Form::kEncoded, **encoded, &encoded_);
    }
    // The last repeat as the first, into memory that does not hold the answer already.
    if (!status.ok() || repeats_ == 1) return status;
    (*decoded)->Fill(std::byte{0x3c});
    (*encoded)->Fill(std::byte{0xc3});
    status = GetAll(Form::kDecoded, **decoded, &decoded_);
    if (status.ok()) status = GetAll(Form::kEncoded, **encoded, &encoded_);
    if (status.ok()) status = CompareForms(**decoded, **encoded);
    return status;
  }

  absl::Status CheckMatch() {
    MatchOptions options;
    options.cache_salt = case_.salt;
    const auto match = opened_.ns->Match(KeysOf(sample_->blocks), options);
    if (!match.ok()) return match.status();
    matched_blocks_ += match->matched_blocks;
    failures_->Expect(
        match->matched_blocks == sample_->blocks.size(),
        Where(absl::StrCat("matched ", match->matched_blocks, " of ", sample_->blocks.size(), " blocks")));
    match_ = match->blocks;
    for (const BlockInfo& info : match_) {
      failures_->Expect(info.profile == opened_.profile.Text(),
                        Where(absl::StrCat("a block is stored as ", info.profile)));
    }
    return absl::OkStatus();
  }

  absl::Status MeasureContainers() {
    GetOptions options;
    options.cache_salt = case_.salt;
    const auto blocks = opened_.ns->GetContainers(KeysOf(sample_->blocks), options);
    if (!blocks.ok()) return blocks.status();
    for (size_t b = 0; b < blocks->size(); ++b) {
      const ContainersOfBlock& block = (*blocks)[b];
      if (!block.status.ok()) return block.status;
      uint64_t bytes = 0;
      for (const std::string& container : block.containers) bytes += container.size();
      failures_->Expect(
          b >= match_.size() || match_[b].encoded_bytes == bytes,
          Where(absl::StrCat("block ", b, " has ", bytes, " encoded bytes, Match said otherwise")));
      if (!sizes_.keys.insert(sample_->blocks[b].key).second) continue;  // a shared prefix
      for (const std::string& container : block.containers) {
        const absl::Status measured = MeasureContainer(AsBytes(container));
        if (!measured.ok()) return measured;
      }
    }
    return absl::OkStatus();
  }

  absl::Status MeasureContainer(ByteSpan bytes) {
    const auto view = codec::ContainerView::Parse(bytes);
    if (!view.ok()) return view.status();
    failures_->ExpectOk(view->VerifyAll(), Where("a container's checksums"));
    const codec::BlockHeader& header = view->header();
    sizes_.raw_bytes += header.raw_bytes();
    sizes_.container_bytes += bytes.size();
    if (!header.codebook_set.IsZero()) {
      sizes_.trained_sets.insert(header.codebook_set);
      ++sizes_.trained_blocks;
    }
    for (uint32_t layer = 0; layer < header.shard.layer_count; ++layer) {
      for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
        const auto segment = view->Segment(layer, tensor);
        if (!segment.ok()) return segment.status();
        for (uint32_t g = 0; g < segment->shape().groups(); ++g) {
          sizes_.payload_bytes += segment->group(g).bytes;
          for (uint32_t h = 0; h < segment->shape().heads; ++h)
            sizes_.payload_bytes += segment->tile(h, g).bytes;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status GetAll(Form form, const SampleMemory& memory, FormTimes* times) {
    std::vector<GetBlock> blocks;
    for (const SampleBlock& block : sample_->blocks) {
      blocks.push_back({.key = block.key, .target = PlaceOf(memory.buffer(), block)});
    }
    GetOptions options;
    options.form = form;
    options.cache_salt = case_.salt;
    options.encoded_only = form == Form::kEncoded;
    bool as_asked = true;
    const absl::Time start = absl::Now();
    const auto results = opened_.ns->GetBlocks(blocks, options, [&](const LayerDone& done) {
      as_asked = as_asked && (!done.status.ok() || done.form == form);
    });
    if (!results.ok()) return results.status();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    times->ms.push_back(seconds * 1e3);
    times->seconds += seconds;
    failures_->Expect(as_asked, Where("a layer came in another form than asked for"));
    for (size_t b = 0; b < results->size(); ++b) {
      const GetResult& result = (*results)[b];
      if (!result.status.ok()) {
        return absl::Status(result.status.code(),
                            absl::StrCat("block ", b, ": ", OutcomeText(result.status, result.reason)));
      }
      times->bytes +=
          2.0 * sample_->file.layers * static_cast<double>(sample_->file.TensorBytes(result.tokens));
    }
    return absl::OkStatus();
  }

  // Every byte as the daemon decoded it against a local decode.
  absl::Status CompareForms(const SampleMemory& decoded, const SampleMemory& encoded) {
    for (const SampleBlock& block : sample_->blocks) {
      for (uint32_t layer = 0; layer < sample_->file.layers; ++layer) {
        for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
          const auto a = decoded.BlockValues(layer, tensor, block);
          const auto b = encoded.BlockValues(layer, tensor, block);
          if (!a.ok()) return a.status();
          if (!b.ok()) return b.status();
          compared_bytes_ += a->size();
          failures_->Expect(
              *a == *b, Where(absl::StrCat("layer ", layer, " ", ToAbsl(TensorName(tensor)), " from token ",
                                           block.first_token,
                                           " on: the daemon decoded it differently than this process")));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckValues(const SampleMemory& memory) {
    const auto report = CheckBlocks(sample_->file, memory, sample_->blocks, opened_.profile);
    if (!report.ok()) return report.status();
    failures_->Expect(
        report->violations == 0,
        Where(absl::StrCat(report->violations, " values miss the error bound: ", report->first_violation)));
    bound_.Add(*report);
    const SampleBlock& last = sample_->blocks.back();
    const auto attention = CompareAttention(sample_->file, memory, last.first_token + last.tokens);
    // Most samples have no queries. Of those that do, the worst counts.
    if (attention.ok() && (!attention_.has_value() || attention->relative_l2 > attention_->relative_l2)) {
      attention_ = *attention;
    }
    return absl::OkStatus();
  }

  Json Report() const {
    Json json = case_.ToJson();
    json["matched_blocks"] = matched_blocks_;
    json["blocks"] = sizes_.keys.size();
    json["trained_blocks"] = sizes_.trained_blocks;
    json["values_checked"] = bound_.values;
    json["values_changed"] = bound_.changed;
    json["violations"] = bound_.violations;
    json["bytes_compared"] = compared_bytes_;
    json["raw_bytes"] = sizes_.raw_bytes;
    json["payload_bytes"] = sizes_.payload_bytes;
    json["container_bytes"] = sizes_.container_bytes;
    json["codebook_bytes"] = sizes_.codebook_bytes;
    const auto raw = static_cast<double>(sizes_.raw_bytes);
    json["ratio_codec"] = raw / static_cast<double>(sizes_.payload_bytes);
    json["ratio_effective"] = raw / static_cast<double>(sizes_.container_bytes + sizes_.codebook_bytes);
    json["max_error"] = bound_.max_error;
    json["max_error_over_r"] = bound_.max_error_over_r;
    json["max_error_over_bound"] = bound_.max_error_over_bound;
    if (attention_.has_value()) {
      json["attention_outputs"] = attention_->outputs;
      json["attention_relative_l2"] = attention_->relative_l2;
      json["attention_worst_layer_l2"] = attention_->worst_layer_l2;
    }
    json["get_decoded"] = decoded_.ToJson();
    json["get_encoded"] = encoded_.ToJson();
    return json;
  }

  const DemoCase& case_;
  OpenedDemoCase& opened_;
  const uint32_t repeats_;
  DemoFailures* const failures_;
  const DemoSample* sample_ = nullptr;  // the one being read
  std::vector<BlockInfo> match_;        // of it
  uint64_t matched_blocks_ = 0;
  uint64_t compared_bytes_ = 0;
  StoredSizes sizes_;
  BoundReport bound_;
  std::optional<AttentionReport> attention_;
  FormTimes decoded_;
  FormTimes encoded_;
};

absl::Status RunDecode(const CommandContext& context) {
  const auto cases = ParseDemoCases(context.args.Text("cases"));
  if (!cases.ok()) return AsUsageError(cases.status());
  const auto repeats = context.args.Whole("repeats", 1, 100000);
  if (!repeats.ok()) return AsUsageError(repeats.status());
  Json rows = Json::array();
  DemoFailures failures;
  Progress progress(context.args, context.err);
  for (size_t i = 0; i < cases->size(); ++i) {
    const DemoCase& demo_case = (*cases)[i];
    progress.Update("cases read", i, cases->size());
    auto opened = OpenDemoCase(demo_case, AddressOf(context.args));
    failures.ExpectOk(opened.status(), absl::StrCat("decode with ", demo_case.profile));
    if (!opened.ok()) continue;
    auto row = CaseReader(demo_case, **opened, static_cast<uint32_t>(*repeats), &failures).Run();
    failures.ExpectOk(row.status(), absl::StrCat("decode with ", demo_case.profile));
    if (row.ok()) rows.push_back(*std::move(row));
  }
  progress.Update("cases read", cases->size(), cases->size());
  PrintJson({{"rows", rows}, {"failures", failures.list()}}, context.out);
  return absl::OkStatus();  // what failed is in the report
}

}  // namespace

Command DemoDecodeCommand() {
  return {.name = "demo-decode",
          .help = "the demo's decode process",
          .flags = {{"address", "ADDRESS", "the daemon's"},
                    {"cases", "JSON", "what to get"},
                    {"repeats", "N", "gets of each sample in each form, to time them", "100"},
                    ProgressFlag()},
          .hidden = true,
          .run = RunDecode};
}

}  // namespace kvcompd::client
