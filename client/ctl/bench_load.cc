#include "client/ctl/bench_load.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/ctl/bench_baseline.h"

namespace kvcompd::client {
namespace {

// Memory that a client reads into: twice the last-level cache, where that is no more than this.
constexpr uint64_t kMaxTargetBytes = uint64_t{256} << 20;
constexpr uint32_t kBatch = 16;
// Keys of the blocks that all clients read.
constexpr uint32_t kSharedOwner = 0;

absl::Status InContext(const absl::Status& status, absl::string_view what) {
  return absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

absl::Status CheckPut(const absl::StatusOr<std::vector<PutResult>>& results) {
  if (!results.ok()) return InContext(results.status(), "put");
  for (const PutResult& result : *results) {
    if (!result.status.ok()) return InContext(result.status, "put");
    if (result.already_stored) return absl::AbortedError("put: a block was stored already; nothing was sent");
  }
  return absl::OkStatus();
}

absl::Status CheckGet(const absl::StatusOr<std::vector<GetResult>>& results) {
  if (!results.ok()) return InContext(results.status(), "get");
  for (const GetResult& result : *results) {
    if (!result.status.ok()) return absl::UnavailableError(absl::StrCat("get: ", result.status.message()));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view BenchFormName(BenchForm form) {
  switch (form) {
    case BenchForm::kRaw:
      return "raw";
    case BenchForm::kReady:
      return "ready";
    case BenchForm::kCodec:
      return "codec";
    case BenchForm::kDecoded:
      return "decoded";
  }
  return "";
}

std::string_view BenchWireForm(BenchForm form) {
  return form == BenchForm::kReady || form == BenchForm::kCodec ? "encoded" : BenchFormName(form);
}

absl::StatusOr<BenchForm> ParseBenchForm(std::string_view name) {
  for (const BenchForm form : {BenchForm::kRaw, BenchForm::kReady, BenchForm::kCodec, BenchForm::kDecoded}) {
    if (name == BenchFormName(form)) return form;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("form \"", ToAbsl(name), "\": expected raw, ready, codec or decoded"));
}

const char* BenchFormProfile(BenchForm form) {
  return form == BenchForm::kRaw ? kBenchRawProfile : kBenchLossyProfile;
}

absl::StatusOr<std::unique_ptr<BenchClient>> BenchClient::Connect(const ClientOptions& options,
                                                                  const BenchBlocks& blocks,
                                                                  uint32_t number) {
  std::unique_ptr<BenchClient> out(new BenchClient(blocks, number));
  auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  out->client_ = *std::move(client);
  for (const BenchForm form : {BenchForm::kRaw, BenchForm::kDecoded}) {
    v1::NamespacePolicy policy;
    policy.set_profile(BenchFormProfile(form));
    // The model names the profile: a namespace keeps the policy of whoever registered it.
    auto ns = out->client_->OpenNamespace(blocks.Descriptor(policy.profile()), policy);
    if (!ns.ok()) return ns.status();
    (form == BenchForm::kRaw ? out->raw_ : out->lossy_) = *std::move(ns);
  }
  const uint64_t target_bytes = std::min(2 * LastLevelCacheBytes(), kMaxTargetBytes);
  const uint64_t target_blocks = std::max<uint64_t>(kBatch, (target_bytes - 1) / blocks.block_bytes() + 1);
  auto target = BenchMemory::Make(blocks.layers(), static_cast<uint32_t>(target_blocks));
  if (!target.ok()) return target.status();
  out->target_ = *std::move(target);
  return out;
}

absl::Status BenchClient::StoreAll(NamespaceHandle& ns) {
  for (uint32_t first = 0; first < blocks_.count(); first += kBatch) {
    std::vector<PutBlock> batch;
    std::vector<BlockKey> keys;
    for (uint32_t i = first; i < std::min(first + kBatch, blocks_.count()); ++i) {
      keys.push_back(BenchBlocks::Key(kSharedOwner, i));
      batch.push_back({.key = keys.back(), .tokens = kBenchTokens, .source = blocks_.memory().place(i)});
    }
    const auto deleted = ns.Delete(keys);
    if (!deleted.ok()) return deleted.status();
    const absl::Status status = CheckPut(ns.PutBlocks(batch, PutOptions{}));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status BenchClient::StoreShared(std::span<const BenchForm> forms) {
  const bool raw = std::find(forms.begin(), forms.end(), BenchForm::kRaw) != forms.end();
  const bool lossy = forms.size() > (raw ? 1 : 0);
  absl::Status status;
  if (raw) {
    status = StoreAll(*raw_);
    if (status.ok()) status = CheckRaw();
  }
  if (lossy) {
    // The first pass trains the books that the second one is encoded with.
    for (int pass = 0; pass < 2 && status.ok(); ++pass) status = StoreAll(*lossy_);
    if (status.ok()) status = CheckLossy();
  }
  return status;
}

absl::Status BenchClient::ForgetShared() {
  std::vector<BlockKey> keys;
  for (uint32_t i = 0; i < blocks_.count(); ++i) keys.push_back(BenchBlocks::Key(kSharedOwner, i));
  absl::Status status = raw_->Delete(keys).status();
  status.Update(lossy_->Delete(keys).status());
  return status;
}

bool BenchClient::Differs(const BenchMemory& want, uint32_t index, uint32_t block) const {
  for (uint32_t layer = 0; layer < blocks_.layers(); ++layer) {
    for (const Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const ByteSpan a = want.Values(layer, tensor, index);
      const ByteSpan b = std::as_const(*target_).Values(layer, tensor, block);
      if (std::memcmp(a.data(), b.data(), a.size()) != 0) return true;
    }
  }
  return false;
}

absl::Status BenchClient::CheckRaw() {
  const uint32_t count = std::min(blocks_.count(), target_->count());
  if (auto got = Get(BenchForm::kRaw, 0, count); !got.ok()) return got.status();
  for (uint32_t block = 0; block < count; ++block) {
    if (Differs(blocks_.memory(), block, block))
      return absl::DataLossError("a raw block is not what was put");
  }
  return absl::OkStatus();
}

// The daemon's decode against this side's.
absl::Status BenchClient::CheckLossy() {
  auto local = BenchMemory::Make(blocks_.layers(), 1);
  if (!local.ok()) return local.status();
  const GetBlock first{.key = BenchBlocks::Key(kSharedOwner, 0), .target = (*local)->place(0)};
  const absl::Status status =
      CheckGet(lossy_->GetBlocks({&first, 1}, {.form = Form::kEncoded, .encoded_only = true}));
  if (!status.ok()) return status;
  if (auto got = Get(BenchForm::kDecoded, 0, 1); !got.ok()) return got.status();
  if (Differs(**local, 0, 0)) return absl::DataLossError("the daemon and the client decode differently");
  return Get(BenchForm::kReady, 0, std::min(kBatch, blocks_.count())).status();  // for encoded_block_bytes
}

std::vector<BlockKey> BenchClient::PutKeys(uint64_t first, uint32_t count) const {
  std::vector<BlockKey> keys;
  for (uint32_t i = 0; i < count; ++i) {
    keys.push_back(BenchBlocks::Key(kSharedOwner + 1 + number_, (first + i) % kPutBlocks));
  }
  return keys;
}

absl::Status BenchClient::PrepareEncodedPut() {
  for (uint32_t first = 0; first < kPutBlocks; first += kBatch) {
    if (auto put = Put(BenchForm::kDecoded, first, kBatch); !put.ok()) return put.status();
    const std::vector<BlockKey> keys = PutKeys(first, kBatch);
    auto got = lossy_->GetContainers(keys, GetOptions{});
    if (!got.ok()) return got.status();
    for (ContainersOfBlock& block : *got) {
      if (!block.status.ok()) return block.status;
      if (block.containers.size() != 1) return absl::InternalError("a block was stored in several parts");
      containers_.push_back(std::move(block.containers[0]));
    }
    const absl::Status status = Forget(BenchForm::kDecoded, first, kBatch);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> BenchClient::Get(BenchForm form, uint64_t first, uint32_t count) {
  std::vector<GetBlock> batch(count);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t block = (first + i) % blocks_.count();
    batch[i].key = BenchBlocks::Key(kSharedOwner, block);
    batch[i].target = target_->place(static_cast<uint32_t>((first + i) % target_->count()));
  }
  GetOptions options;
  uint64_t encoded_bytes = 0;
  if (form == BenchForm::kReady || form == BenchForm::kCodec) {
    options.form = Form::kEncoded;
    options.encoded_only = true;
  }
  if (form == BenchForm::kReady) {
    options.on_segment = [&encoded_bytes](const EncodedSegment& segment) {
      encoded_bytes += segment.view.bytes().size();
      return absl::OkStatus();
    };
  }
  const absl::Status status = CheckGet(ns(form).GetBlocks(batch, options));
  if (!status.ok()) return status;
  if (form == BenchForm::kReady) encoded_block_bytes_ = encoded_bytes / count;
  if (form == BenchForm::kReady) return encoded_bytes;
  // What came is not seen where it is decoded on its way; the blocks are those that a ready get measured.
  return count * (form == BenchForm::kCodec ? encoded_block_bytes_ : blocks_.block_bytes());
}

absl::StatusOr<uint64_t> BenchClient::Put(BenchForm form, uint64_t first, uint32_t count) {
  const std::vector<BlockKey> keys = PutKeys(first, count);
  if (form != BenchForm::kReady) {
    std::vector<PutBlock> batch(count);
    for (uint32_t i = 0; i < count; ++i) {
      const auto source = static_cast<uint32_t>((number_ * kPutBlocks + first + i) % blocks_.count());
      batch[i] = {.key = keys[i], .tokens = kBenchTokens, .source = blocks_.memory().place(source)};
    }
    PutOptions options;
    options.form = form == BenchForm::kCodec ? Form::kEncoded : Form::kDecoded;
    const auto results = ns(form).PutBlocks(batch, options);
    if (auto status = CheckPut(results); !status.ok()) return status;
    if (form != BenchForm::kCodec) return count * blocks_.block_bytes();
    uint64_t bytes = 0;
    for (const PutResult& result : *results) bytes += result.encoded_bytes;
    return bytes;
  }
  if (containers_.empty()) return absl::FailedPreconditionError("PrepareEncodedPut was not called");
  std::vector<PutContainer> batch(count);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string& container = containers_[(first + i) % kPutBlocks];
    batch[i] = {.key = keys[i], .container = AsBytes(container)};
    bytes += container.size();
  }
  const absl::Status status = CheckPut(lossy_->PutContainers(batch, PutOptions{}));
  if (!status.ok()) return status;
  return bytes;
}

absl::Status BenchClient::Forget(BenchForm form, uint64_t first, uint32_t count) {
  return ns(form).Delete(PutKeys(first, count)).status();
}

}  // namespace kvcompd::client
