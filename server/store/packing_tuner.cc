#include "server/store/packing_tuner.h"

#include <utility>

namespace kvcompd::server {

using codec::PackkvTuner;

PackingTuner::PackingTuner(const Profile& profile) : tuner_(std::make_unique<PackkvTuner>(profile)) {}

codec::PackkvChoices PackingTuner::choices() const {
  MutexLock lock(&mutex_);
  return choices_;
}

std::unique_ptr<PackkvTuner> PackingTuner::TakeIfDue(Tensor tensor) {
  MutexLock lock(&mutex_);
  Pace& pace = paces_[tensor == Tensor::kK ? 0 : 1];
  ++pace.groups;
  if (tuner_ == nullptr || !tuner_->Wants(tensor) || pace.groups < pace.next_sample) return nullptr;
  pace.next_sample = pace.groups + kGroupsPerSample;
  return std::move(tuner_);
}

std::optional<PackkvTuner::Outcome> PackingTuner::Offer(const codec::GroupShape& shape,
                                                        const std::byte* values, uint64_t head_stride_bytes,
                                                        codec::Workspace* ws) {
  std::unique_ptr<PackkvTuner> tuner = TakeIfDue(shape.tensor);
  if (tuner == nullptr) return std::nullopt;
  // A group that cannot be encoded is no sample; the encode itself will say why.
  const bool added = tuner->Add(shape, values, head_stride_bytes, ws).ok();
  MutexLock lock(&mutex_);
  tuner_ = std::move(tuner);
  choices_ = tuner_->choices();
  return added ? tuner_->outcome(shape.tensor) : std::nullopt;
}

}  // namespace kvcompd::server
