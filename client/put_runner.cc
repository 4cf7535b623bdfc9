// PutBlocks and PutContainers: batches that are taken up again where a stream breaks.
#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/namespace_session.h"
#include "client/put_plan.h"
#include "client/put_stream.h"
#include "client/unary_call.h"

namespace kvcompd::client {

// Puts `blocks` of one plan. `push(stream, layer, open)` sends a layer of the blocks numbered in `open`.
class PutRunner {
 public:
  using Push = std::function<absl::Status(PutStream*, uint32_t layer, std::span<const uint32_t> open)>;

  PutRunner(std::shared_ptr<NamespaceSession> session, PutPlan plan, const Deadline& deadline,
            std::span<const PutBlock> blocks, Push push)
      : session_(std::move(session)),
        plan_(std::move(plan)),
        call_(session_, Repeat::kContention, deadline),
        blocks_(blocks),
        push_(std::move(push)),
        results_(blocks.size()),
        settled_(blocks.size(), false) {
    plan_.flush_each_layer = false;
  }

  absl::StatusOr<std::vector<PutResult>> Run() {
    const uint64_t limit = session_->state().limits.max_blocks();
    const size_t step = std::min<size_t>(limit > 0 ? limit : blocks_.size(), kMaxBatchBlocks);
    bool any = false;
    for (size_t begin = 0; begin < blocks_.size(); begin += step) {
      const absl::Status status = RunBatch(begin, std::min(begin + step, blocks_.size()));
      any = any || std::find(settled_.begin(), settled_.end(), true) != settled_.end();
      if (status.ok()) continue;
      if (!any) return WithVerb("put", status);
      for (size_t i = 0; i < blocks_.size(); ++i) {
        if (!settled_[i]) results_[i].status = WithVerb("put", status);
      }
      break;
    }
    return std::move(results_);
  }

  static absl::Status PushContainers(PutStream* stream, uint32_t layer,
                                     std::span<const codec::ContainerView* const> views) {
    return stream->PushContainerLayer(layer, views);
  }

 private:
  absl::Status RunBatch(size_t begin, size_t end) {
    for (;;) {
      std::vector<uint32_t> open;
      for (size_t i = begin; i < end; ++i) {
        if (!settled_[i]) open.push_back(static_cast<uint32_t>(i));
      }
      if (open.empty()) return absl::OkStatus();
      bool reopen = false;
      const absl::Status status = Attempt(open, &reopen);
      const auto settled = [this](uint32_t i) { return settled_[i]; };
      if (std::any_of(open.begin(), open.end(), settled)) call_.Progress();
      if (status.ok()) continue;
      if (auto next = call_.Next(status, reopen); !next.ok()) return next;
    }
  }

  absl::Status Attempt(const std::vector<uint32_t>& open, bool* reopen) {
    std::vector<PutBlock> blocks;
    blocks.reserve(open.size());
    for (uint32_t i : open) blocks.push_back(blocks_[i]);
    auto stream = PutStream::TryOpen(session_, &call_, plan_, std::move(blocks), reopen);
    if (!stream.ok()) return stream.status();
    const absl::Status status = Send(stream->get(), open);
    *reopen = (*stream)->asks_to_reopen();
    const std::vector<PutResult> results = (*stream)->results();
    bool upload = false;
    for (size_t i = 0; i < open.size(); ++i) {
      // A daemon that lost the codebooks gets them once, and the blocks are tried again.
      if (results[i].reason == v1::REASON_CODEBOOK_MISSING && plan_.codebooks != nullptr && !uploaded_) {
        upload = true;
        continue;
      }
      // After a whole stream every result is final.
      if (!status.ok() && !(*stream)->settled(static_cast<uint32_t>(i))) continue;
      results_[open[i]] = results[i];
      settled_[open[i]] = true;
    }
    if (upload && status.ok()) return Upload();
    return status;
  }

  absl::Status Send(PutStream* stream, std::span<const uint32_t> open) {
    const auto wanted = [&] {
      for (uint32_t i = 0; i < open.size(); ++i) {
        if (stream->wanted(i)) return true;
      }
      return false;
    };
    for (uint32_t layer = 0; layer < stream->layers() && wanted(); ++layer) {
      if (auto s = push_(stream, layer, open); !s.ok()) return s;
    }
    return stream->Finish().status();
  }

  absl::Status Upload() {
    uploaded_ = true;
    v1::PutCodebooksRequest request;
    v1::PutCodebooksResponse response;
    request.set_set(plan_.codebooks->canonical_bytes());
    return CallUnary(session_, &v1::KvCache::Stub::PutCodebooks, "put codebooks", Repeat::kContention,
                     call_.deadline(), &request, &response);
  }

  const std::shared_ptr<NamespaceSession> session_;
  PutPlan plan_;
  SessionCall call_;
  const std::span<const PutBlock> blocks_;
  const Push push_;
  std::vector<PutResult> results_;
  std::vector<bool> settled_;
  bool uploaded_ = false;
};

absl::StatusOr<std::vector<PutResult>> PutBlocks(const std::shared_ptr<NamespaceSession>& session,
                                                 std::span<const PutBlock> blocks,
                                                 const PutOptions& options) {
  if (auto status = CheckPutBlocks(session->model(), blocks); !status.ok()) return status;
  const Deadline deadline =
      session->core().DeadlineOf(options.deadline_ms, session->core().options().deadlines.put_ms);
  auto plan = MakePutPlan(*session, options, deadline);
  if (!plan.ok()) return plan.status();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const absl::Status s = CheckBuffer(plan->group, plan->shard, blocks[i].source, blocks[i].tokens);
    if (!s.ok()) return absl::InvalidArgumentError(absl::StrCat("blocks[", i, "].source: ", s.message()));
  }
  const auto push = [blocks](PutStream* stream, uint32_t layer, std::span<const uint32_t> open) {
    std::vector<BlockPlace> places;
    places.reserve(open.size());
    for (uint32_t i : open) places.push_back(blocks[i].source);
    return stream->PushLayer(layer, places);
  };
  return PutRunner(session, *std::move(plan), deadline, blocks, push).Run();
}

absl::StatusOr<std::vector<PutResult>> PutContainers(const std::shared_ptr<NamespaceSession>& session,
                                                     std::span<const PutContainer> containers,
                                                     const PutOptions& options) {
  std::vector<codec::ContainerView> views;
  std::vector<PutBlock> blocks;
  for (size_t i = 0; i < containers.size(); ++i) {
    auto view = codec::ContainerView::Parse(containers[i].container);
    if (!view.ok()) return WithVerb(absl::StrCat("containers[", i, "]"), view.status());
    const codec::BlockHeader& header = view->header();
    if (i > 0 && (header.shard != views[0].header().shard || header.profile != views[0].header().profile ||
                  header.codebook_set != views[0].header().codebook_set)) {
      return absl::InvalidArgumentError(
          absl::StrCat("containers[", i, "] has another shard, profile or codebook set than the first"));
    }
    blocks.push_back({.key = containers[i].key, .parent = containers[i].parent, .tokens = header.tokens});
    views.push_back(*std::move(view));
  }
  if (auto status = CheckPutBlocks(session->model(), blocks); !status.ok()) return status;
  const Deadline deadline =
      session->core().DeadlineOf(options.deadline_ms, session->core().options().deadlines.put_ms);
  auto plan = MakeContainerPlan(*session, options, views[0].header());
  if (!plan.ok()) return plan.status();
  for (const codec::ContainerView& view : views) {
    if (view.header().shard != plan->shard ||
        (view.header().head_dim_v != 0) != plan->group.has(Tensor::kV)) {
      return absl::InvalidArgumentError(
          "a container's heads, layers or tensors are not those of the model's group");
    }
  }
  const auto push = [&views](PutStream* stream, uint32_t layer, std::span<const uint32_t> open) {
    std::vector<const codec::ContainerView*> some;
    some.reserve(open.size());
    for (uint32_t i : open) some.push_back(&views[i]);
    return PutRunner::PushContainers(stream, layer, some);
  };
  return PutRunner(session, *std::move(plan), deadline, blocks, push).Run();
}

}  // namespace kvcompd::client
