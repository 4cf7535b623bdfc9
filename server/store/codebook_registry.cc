#include "server/store/codebook_registry.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kvcompd::server {

using codec::CodebookSet;
using codec::CodebookTrainer;

namespace {

// Null for a profile without books.
std::shared_ptr<const CodebookSet> BuiltInOf(const Profile& profile) {
  std::shared_ptr<const CodebookSet> set = CodebookSet::BuiltIn(profile);
  return set != nullptr && set->Find(0, Tensor::kK) != nullptr ? set : nullptr;
}

}  // namespace

struct CodebookRegistry::PerProfile {
  PerProfile(const Fingerprint& fingerprint, const Profile& profile)
      : text(profile.Text()), built_in(BuiltInOf(profile)), trainer(fingerprint, profile) {}

  const std::string text;
  const SetPtr built_in;  // null: a profile without books

  // Under CodebookRegistry::mutex_ (an annotation cannot name another object's lock).
  SetPtr trained;  // null: built_in is current

  // Under samples_mutex, which only writers of samples take.
  Mutex samples_mutex;
  CodebookTrainer trainer ABSL_GUARDED_BY(samples_mutex);
  uint64_t next_training ABSL_GUARDED_BY(samples_mutex) = kFirstTrainingSamples;
  bool training ABSL_GUARDED_BY(samples_mutex) = false;
};

CodebookRegistry::CodebookRegistry(const Fingerprint& fingerprint, uint32_t layers,
                                   std::atomic<uint64_t>* uploaded_bytes)
    : fingerprint_(fingerprint), max_books_(2 * (size_t{layers} + 1)), uploaded_bytes_(uploaded_bytes) {}
CodebookRegistry::~CodebookRegistry() = default;

std::shared_ptr<CodebookRegistry::PerProfile> CodebookRegistry::ProfileState(const Profile& profile) {
  std::string text = profile.Text();
  {
    MutexLock lock(&mutex_);
    auto it = profiles_.find(text);
    if (it != profiles_.end()) return it->second;
    if (profiles_.size() >= kMaxProfiles) return nullptr;
  }
  auto state =
      std::make_shared<PerProfile>(fingerprint_, profile);  // builds the built-in set: not under the lock
  MutexLock lock(&mutex_);
  return profiles_.emplace(std::move(text), std::move(state)).first->second;
}

CodebookRegistry::SetPtr CodebookRegistry::Current(const Profile& profile) {
  std::shared_ptr<PerProfile> state = ProfileState(profile);
  if (state == nullptr) return BuiltInOf(profile);
  MutexLock lock(&mutex_);
  return state->trained != nullptr ? state->trained : state->built_in;
}

CodebookRegistry::SetPtr CodebookRegistry::Find(const Digest& id, const Profile& profile) {
  if (!id.IsZero()) {
    MutexLock lock(&mutex_);
    auto it = live_.find(id);
    SetPtr set = it == live_.end() ? nullptr : it->second.lock();
    if (set != nullptr) return set->profile_text() == profile.Text() ? set : nullptr;
  }
  std::shared_ptr<PerProfile> state = ProfileState(profile);
  SetPtr built_in = state != nullptr ? state->built_in : BuiltInOf(profile);
  // The built-in set also answers to its own id.
  if (id.IsZero() || (built_in != nullptr && built_in->id() == id)) return built_in;
  return nullptr;
}

absl::StatusOr<CodebookRegistry::SetPtr> CodebookRegistry::FindById(const Digest& id) {
  MutexLock lock(&mutex_);
  auto it = live_.find(id);
  SetPtr set = it == live_.end() ? nullptr : it->second.lock();
  if (set != nullptr) return set;
  for (const auto& [text, state] : profiles_) {
    if (state->built_in != nullptr && state->built_in->id() == id) return state->built_in;
  }
  return absl::NotFoundError("no live codebook set has this id");
}

size_t CodebookRegistry::PruneAndCount() {
  for (auto it = live_.begin(); it != live_.end();) {
    it = it->second.expired() ? live_.erase(it) : std::next(it);
  }
  return live_.size();
}

size_t CodebookRegistry::live() const {
  MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto& [id, set] : live_) count += set.expired() ? 0 : 1;
  return count;
}

absl::StatusOr<CodebookRegistry::SetPtr> CodebookRegistry::Upload(std::string_view canonical_bytes) {
  absl::StatusOr<SetPtr> parsed = CodebookSet::Parse(canonical_bytes);
  if (!parsed.ok()) return parsed.status();
  if ((*parsed)->fingerprint() != fingerprint_) {
    return absl::FailedPreconditionError("the codebook set belongs to another model");
  }
  if ((*parsed)->books() > max_books_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the codebook set has ", (*parsed)->books(), " books, the model can use ", max_books_));
  }
  MutexLock lock(&mutex_);
  auto known = live_.find((*parsed)->id());
  SetPtr set = known == live_.end() ? nullptr : known->second.lock();
  if (set == nullptr) {
    // The oldest upload gives way, and frees its place and memory where no block names it.
    const bool frees_one = uploaded_.size() >= kMaxUploaded && uploaded_.front().use_count() == 1;
    if (PruneAndCount() - (frees_one ? 1 : 0) >= kMaxLive) {
      return absl::ResourceExhaustedError(
          "the namespace has as many codebook sets as it may; encode with one of them");
    }
    if (frees_one) uploaded_.pop_front();
    set = Counted(*std::move(parsed));
    if (set == nullptr) {
      return absl::ResourceExhaustedError(
          "uploaded codebook sets have all the memory that there is for them; use the daemon's own");
    }
    live_[set->id()] = set;
  }
  for (const SetPtr& held : uploaded_) {
    if (held == set) return set;
  }
  if (uploaded_.size() >= kMaxUploaded) uploaded_.pop_front();
  uploaded_.push_back(set);
  return set;
}

void CodebookRegistry::ForgetUploads() {
  std::deque<SetPtr> dropped;  // after the lock
  MutexLock lock(&mutex_);
  dropped.swap(uploaded_);
}

CodebookRegistry::SetPtr CodebookRegistry::Counted(SetPtr set) const {
  if (uploaded_bytes_ == nullptr) return set;
  const uint64_t bytes = set->memory_bytes();
  if (uploaded_bytes_->fetch_add(bytes) + bytes > kMaxUploadedBytes) {
    *uploaded_bytes_ -= bytes;
    return nullptr;
  }
  const CodebookSet* const raw = set.get();
  return SetPtr(raw, [keep = std::move(set), total = uploaded_bytes_, bytes](const CodebookSet*) mutable {
    keep.reset();
    *total -= bytes;
  });
}

bool CodebookRegistry::HasRoom() {
  MutexLock lock(&mutex_);
  return PruneAndCount() < kMaxLive;
}

void CodebookRegistry::AddSamples(const Profile& profile, uint32_t layer, Tensor tensor,
                                  std::span<const uint32_t> counts) {
  std::shared_ptr<PerProfile> state = ProfileState(profile);
  if (state == nullptr || state->built_in == nullptr) return;
  std::unique_ptr<CodebookTrainer> samples;
  {
    MutexLock lock(&state->samples_mutex);
    state->trainer.Add(layer, tensor, counts);
    // Without room the training stays due until a set dies.
    if (state->training || state->trainer.samples() < state->next_training || !HasRoom()) return;
    state->training = true;
    samples = std::make_unique<CodebookTrainer>(state->trainer);
  }
  Train(state.get(), *samples);
  MutexLock lock(&state->samples_mutex);
  state->training = false;
  state->next_training = samples->samples() * kRefreshFactor;
}

void CodebookRegistry::Train(PerProfile* state, const CodebookTrainer& samples) {
  SetPtr set = samples.Build();
  if (set == nullptr) return;
  SetPtr old;
  {
    MutexLock lock(&mutex_);
    old = state->trained;
  }
  if (old != nullptr) {
    const uint64_t old_bits = samples.CostBits(*old);
    const uint64_t saved_bits = old_bits - std::min(old_bits, samples.CostBits(*set));
    if (saved_bits < old_bits / 100 * kRefreshPercent) return;
  }
  MutexLock lock(&mutex_);
  auto known = live_.find(set->id());
  if (SetPtr same = known == live_.end() ? nullptr : known->second.lock(); same != nullptr) {
    set = std::move(same);  // a client has uploaded just this one
  } else {
    if (PruneAndCount() >= kMaxLive) return;
    live_[set->id()] = set;
  }
  state->trained = std::move(set);
}

}  // namespace kvcompd::server
