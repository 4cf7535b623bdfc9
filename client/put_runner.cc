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
        call_(session_, Repeat::kContention, deadline, plan_.options.cancel),
        mender_(session_, deadline, plan_.options.cancel),
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
      const ByteStream::End end = Attempt(open);
      const auto settled = [this](uint32_t i) { return settled_[i]; };
      if (std::any_of(open.begin(), open.end(), settled)) call_.Progress();
      if (end.status.ok()) continue;
      if (auto next = call_.Next(end); !next.ok()) return next;
    }
  }

  ByteStream::End Attempt(const std::vector<uint32_t>& open) {
    std::vector<PutBlock> blocks;
    blocks.reserve(open.size());
    for (uint32_t i : open) blocks.push_back(blocks_[i]);
    ByteStream::End end;
    auto stream = PutStream::TryOpen(session_, &call_, plan_, std::move(blocks), &end);
    if (!stream.ok()) return end;
    end = (*stream)->EndWith(Send(stream->get(), open));
    const v1::Reason reason = (*stream)->MendableReason(mender_);
    if (!end.status.ok()) {
      Settle(**stream, open, /*again=*/reason, /*whole=*/false);
      return end;
    }
    bool again = false;
    if (reason != v1::REASON_UNSPECIFIED) {
      auto mended = mender_.Mend(&plan_, reason);
      if (!mended.ok()) return {.status = mended.status()};
      again = *mended;
    }
    Settle(**stream, open, again ? reason : v1::REASON_UNSPECIFIED, /*whole=*/true);
    return end;
  }

  // Takes the results that are final: all after a whole stream, but for those that are tried again.
  void Settle(const PutStream& stream, const std::vector<uint32_t>& open, v1::Reason again, bool whole) {
    const std::vector<PutResult> results = stream.results();
    for (size_t i = 0; i < open.size(); ++i) {
      if (!whole && !stream.settled(static_cast<uint32_t>(i))) continue;
      if (again != v1::REASON_UNSPECIFIED && !results[i].status.ok() && results[i].reason == again) continue;
      results_[open[i]] = results[i];
      settled_[open[i]] = true;
    }
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

  const std::shared_ptr<NamespaceSession> session_;
  PutPlan plan_;
  SessionCall call_;
  PutMender mender_;
  const std::span<const PutBlock> blocks_;
  const Push push_;
  std::vector<PutResult> results_;
  std::vector<bool> settled_;
};

absl::StatusOr<std::vector<PutResult>> PutBlocks(const std::shared_ptr<NamespaceSession>& session,
                                                 std::span<const PutBlock> blocks, const PutOptions& options,
                                                 const Deadline& deadline) {
  if (auto status = CheckPutBlocks(session->model(), blocks); !status.ok()) return status;
  auto plan = MakePutPlan(*session, options, deadline, options.cancel);
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
  const Deadline deadline = PutDeadline(*session, options);
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
