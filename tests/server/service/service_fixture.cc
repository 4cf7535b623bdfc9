#include "tests/server/service/service_fixture.h"

#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/codebook.h"
#include "codec/container.h"
#include "codec/segment.h"
#include "proto/convert.h"

namespace kvcompd::server {

PutCall::PutCall(v1::KvCache::Stub* stub) : stream_(stub->Put(context_.get())) {}

bool PutCall::Receive() {
  v1::PutResponse response;
  if (!stream_->Read(&response)) return false;
  if (response.has_header()) {
    verdicts.assign(response.header().blocks().begin(), response.header().blocks().end());
    credit += response.header().credit_bytes();
  }
  credit += response.credit_bytes();
  for (const auto& result : response.results()) results[result.block()].push_back(result);
  return true;
}

bool PutCall::ReceiveResults(size_t count) {
  while (results.size() < count) {
    if (!Receive()) return false;
  }
  return true;
}

absl::Status PutCall::Finish() {
  stream_->WritesDone();
  while (Receive()) {
  }
  return FromGrpc(stream_->Finish());
}

absl::Status PutCall::StatusOf(uint32_t block) const {
  const auto it = results.find(block);
  if (it == results.end()) return absl::InternalError("the block has no result");
  if (it->second.size() != 1) return absl::InternalError("the block has more than one result");
  return FromBlockStatus(it->second.front().status());
}

v1::Reason PutCall::ReasonOf(uint32_t block) const {
  const auto it = results.find(block);
  return it == results.end() ? v1::REASON_UNSPECIFIED : it->second.front().status().reason();
}

std::string Got::Values(uint32_t block, uint32_t layer, Tensor tensor) const {
  std::string out;
  const auto it = heads.find({block, layer, tensor});
  if (it == heads.end()) return out;
  for (const auto& [head, values] : it->second) out += values;
  return out;
}

absl::Status Got::BlockStatus(uint32_t block) const {
  absl::Status last = absl::NotFoundError("nothing was said of the block");
  for (const auto& layer : layers) {
    if (layer.block() == block) last = FromBlockStatus(layer.status());
  }
  return last;
}

v1::Reason Got::BlockReason(uint32_t block) const {
  v1::Reason last = v1::REASON_UNSPECIFIED;
  for (const auto& layer : layers) {
    if (layer.block() == block) last = layer.status().reason();
  }
  return last;
}

size_t Got::LayersOf(uint32_t block) const {
  size_t n = 0;
  for (const auto& layer : layers) n += layer.block() == block && layer.status().code() == 0;
  return n;
}

ServiceTest::ServiceTest(const DaemonOptions& options) { Restart(options); }

void ServiceTest::Restart(const DaemonOptions& options) {
  fixture_.reset();
  fixture_ = std::make_unique<DaemonFixture>(options);
}

void ServiceTest::Advance(uint32_t ms) {
  clock().AdvanceUs(int64_t{ms} * 1000);
  fixture_->daemon().Tick();
}

void ServiceTest::CancelSilentStreams() {
  const ServiceContext& context = fixture_->daemon().context();
  EXPECT_TRUE(Eventually([&] {
    Advance(context.options.stream_idle_ms + 1);
    return context.streams->open() == 0;
  }));
}

void ServiceTest::Quiesce() {
  ServiceContext& context = fixture_->daemon().context();
  EXPECT_TRUE(Eventually([&context] {
    const WorkerPool::Stats pool = context.pool->stats();
    return context.streams->open() == 0 && pool.running == 0 && pool.queued_reads + pool.queued_writes == 0;
  }));
}

void ServiceTest::TearDown() {
  if (fixture_ == nullptr) return;
  Quiesce();
  // Leases, pins, orphans and sequences end; nothing else may be in the way of an empty store.
  Advance(2 * 86'400'000);
  for (const auto& ns : store().ListNamespaces()) store().Flush(ns);
  // A session may outlive its stream by a moment: it gives back its slots, and then uncharges them.
  const auto empty = [this] {
    const Store::Stats stats = store().stats();
    uint64_t charged = stats.stored_bytes + stats.staged_bytes + stats.tail_bytes;
    for (const auto& ns : store().ListNamespaces()) charged += ns->account().charged_bytes;
    return stats.host.used_bytes == 0 && stats.host.slots == 0 && charged == 0;
  };
  EXPECT_TRUE(Eventually(empty)) << "a slot or its charge was leaked";
  const Store::Stats stats = store().stats();
  EXPECT_EQ(stats.stored_bytes + stats.staged_bytes + stats.tail_bytes, 0u);
  EXPECT_EQ(stats.blocks + stats.encoded_bytes + stats.raw_bytes + stats.leases + stats.pins, 0u);
  EXPECT_EQ(fixture_->daemon().context().sequences->size(), 0u);
  for (const auto& ns : store().ListNamespaces()) {
    const Namespace::Account& account = ns->account();
    EXPECT_EQ(account.charged_bytes, 0u) << ns->tenant();
    EXPECT_EQ(account.stored_bytes + account.staged_bytes + account.tail_bytes + account.pinned_bytes, 0u);
    EXPECT_EQ(account.blocks + account.encoded_bytes + account.raw_bytes, 0u);
  }
}

v1::OpenNamespaceRequest ServiceTest::OpenRequest(const std::string& tenant, const std::string& profile) {
  v1::OpenNamespaceRequest request;
  *request.mutable_hello() = MakeHello("test/0", 0, 0);
  request.set_tenant(tenant);
  *request.mutable_model() = ToProto(ServiceModel());
  request.mutable_policy()->set_profile(profile);
  return request;
}

absl::Status ServiceTest::OpenNamespace(const v1::OpenNamespaceRequest& request,
                                        v1::OpenNamespaceResponse* response) {
  return KVCOMPD_CALL(OpenNamespace, request, response);
}

std::string ServiceTest::Open(const std::string& tenant, const std::string& profile) {
  return Open(OpenRequest(tenant, profile));
}

std::string ServiceTest::Open(const v1::OpenNamespaceRequest& request) {
  v1::OpenNamespaceResponse response;
  const absl::Status status = OpenNamespace(request, &response);
  EXPECT_TRUE(status.ok()) << status;
  return response.namespace_id();
}

absl::Status ServiceTest::Put(const PutSpec& spec) {
  PutCall put(stub());
  put.Send(HeaderOf(spec));
  if (!put.Receive()) return put.Finish();
  std::vector<uint32_t> wanted;
  for (uint32_t i = 0; i < spec.blocks.size(); ++i) {
    if (put.verdict(i) == v1::PutDisposition::WANTED) {
      wanted.push_back(i);
    } else if (put.verdict(i) != v1::PutDisposition::ALREADY_STORED) {
      put.Finish().IgnoreError();
      return FromBlockStatus(put.verdicts[i].status());
    }
  }
  for (uint32_t i : wanted) {
    for (const v1::PutRequest& piece : PiecesOf(spec, i)) put.Send(piece);
  }
  put.Send(CommitOf(wanted));
  if (absl::Status status = put.Finish(); !status.ok()) return status;
  for (uint32_t i : wanted) {
    if (absl::Status status = put.StatusOf(i); !status.ok()) return status;
  }
  return absl::OkStatus();
}

Got ServiceTest::Get(const v1::GetRequest& request) {
  Got got;
  auto context = Call();
  auto stream = stub()->Get(context.get(), request);
  v1::GetResponse response;
  std::map<std::tuple<uint32_t, uint32_t, Tensor, uint32_t>, std::string> runs;
  std::map<std::tuple<uint32_t, uint32_t, Tensor, uint32_t>, v1::GetChunk> first;
  std::map<uint32_t, std::vector<std::string>> headers;  // encoded, by block
  while (stream->Read(&response)) {
    uint64_t at = 0;
    for (const v1::GetChunk& chunk : response.chunks()) {
      const std::string piece = response.data().substr(at, chunk.bytes());
      at += chunk.bytes();
      EXPECT_EQ(Crc32c(AsBytes(piece)), chunk.crc32c());
      got.chunks.push_back(chunk);
      if (chunk.container_part() == v1::CONTAINER_HEADER) {
        headers[chunk.block()].push_back(piece);
        continue;
      }
      const std::tuple place{chunk.block(), chunk.layer(), static_cast<Tensor>(chunk.tensor()),
                             chunk.head_begin()};
      std::string& run = runs[place];
      EXPECT_EQ(run.size(), chunk.offset());
      run += piece;
      first.emplace(place, chunk);
    }
    EXPECT_EQ(at, response.data().size());
    got.layers.insert(got.layers.end(), response.layer_results().begin(), response.layer_results().end());
  }
  got.status = FromGrpc(stream->Finish());
  const auto ns = store().FindNamespace(request.namespace_id());
  for (auto& [place, run] : runs) {
    const v1::GetChunk& chunk = first.at(place);
    EXPECT_EQ(run.size(), chunk.total_bytes());
    std::string values = run;
    if (chunk.form() == v1::FORM_ENCODED) {
      auto segment = codec::SegmentView::Parse(AsBytes(run));
      if (!segment.ok()) {
        ADD_FAILURE() << segment.status();
        continue;
      }
      auto header = codec::ParseBlockHeader(AsBytes(headers[chunk.block()].at(0)));
      if (!header.ok()) {
        ADD_FAILURE() << header.status();
        continue;
      }
      const Profile profile = *Profile::Parse(header->profile);
      const auto books = ns->codebooks().Find(header->codebook_set, profile);
      const Tensor tensor = std::get<2>(place);
      EXPECT_EQ(segment->shape().head_begin, chunk.head_begin());
      EXPECT_EQ(segment->shape().heads, chunk.head_count());
      values.assign(segment->shape().raw_bytes(), '\0');
      codec::Workspace ws;
      const codec::SegmentPlace seed{header->fingerprint, header->key, segment->layer(), tensor};
      const absl::Status status = segment->Decode(
          seed, 0, chunk.head_count(), books == nullptr ? nullptr : books->Find(segment->layer(), tensor),
          &ws, std::as_writable_bytes(std::span(values)));
      EXPECT_TRUE(status.ok()) << status;
    }
    const size_t head_bytes = values.size() / chunk.head_count();
    for (uint32_t h = 0; h < chunk.head_count(); ++h) {
      got.heads[{chunk.block(), chunk.layer(), std::get<2>(place)}][chunk.head_begin() + h] =
          values.substr(h * head_bytes, head_bytes);
    }
  }
  return got;
}

bool ServiceTest::Exists(const std::string& ns, int block) {
  v1::ExistsRequest request;
  request.set_namespace_id(ns);
  request.add_keys(KeyOf(block));
  v1::ExistsResponse response;
  const absl::Status status = KVCOMPD_CALL(Exists, request, &response);
  EXPECT_TRUE(status.ok()) << status;
  return response.exists_size() == 1 && response.exists(0);
}

uint32_t ServiceTest::Matched(const std::string& ns, const std::vector<int>& blocks) {
  v1::MatchRequest request;
  request.set_namespace_id(ns);
  for (int block : blocks) request.add_keys(KeyOf(block));
  v1::MatchResponse response;
  const absl::Status status = KVCOMPD_CALL(Match, request, &response);
  EXPECT_TRUE(status.ok()) << status;
  return response.matched_blocks();
}

double ServiceTest::Metric(const std::string& name, const std::string& reason) {
  return fixture_->daemon().context().metrics->Value(name, {{"reason", reason}});
}

}  // namespace kvcompd::server
