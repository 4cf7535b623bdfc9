#include "client/key_calls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/unary_call.h"
#include "proto/convert.h"
#include "proto/status_convert.h"

namespace kvcompd::client {
namespace {

template <typename Request>
void AddKeys(std::span<const BlockKey> keys, const std::string& salt, Request* request) {
  for (const BlockKey& key : keys) request->add_keys(std::string(key.view()));
  request->set_cache_salt(salt);
}

size_t KeysPerCall(NamespaceSession& session, size_t keys) {
  const uint32_t limit = session.state().limits.max_keys();
  return std::max<size_t>(1, limit > 0 ? limit : keys);
}

// Calls `method` for as many keys at a time as the daemon takes; `take` appends a response's items, of which
// there must be one a key.
template <typename Request, typename Response, typename Item>
absl::StatusOr<std::vector<Item>> CallForKeys(
    const SessionPtr& session, std::span<const BlockKey> keys, const KeyOptions& options,
    grpc::Status (v1::KvCache::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    absl::string_view verb, const std::function<void(Request*)>& prepare,
    const std::function<void(const Response&, std::vector<Item>*)>& take) {
  const Deadline deadline = LookupDeadline(*session, options.deadline_ms);
  const size_t step = KeysPerCall(*session, keys.size());
  std::vector<Item> out;
  for (size_t begin = 0; begin < keys.size(); begin += step) {
    const auto some = keys.subspan(begin, std::min(step, keys.size() - begin));
    Request request;
    Response response;
    AddKeys(some, options.cache_salt, &request);
    if (prepare) prepare(&request);
    if (auto s = CallUnary(session, method, verb, Repeat::kTransport, deadline, options.cancel, &request,
                           &response);
        !s.ok()) {
      return s;
    }
    take(response, &out);
    if (out.size() != begin + some.size()) {
      return absl::InternalError(absl::StrCat(verb, ": the daemon answered for another number of keys"));
    }
  }
  return out;
}

BlockOutcome OutcomeOf(const v1::BlockStatus& status) { return {FromBlockStatus(status), status.reason()}; }

BlockInfo InfoOf(const v1::BlockInfo& m) {
  BlockInfo info;
  info.tokens = m.tokens();
  info.tier = m.tier();
  info.encoded_bytes = m.encoded_bytes();
  info.raw_bytes = m.raw_bytes();
  info.error_bound = m.error_bound();
  info.generation = FromProto(m.generation());
  info.profile = m.profile();
  return info;
}

absl::Status AddMatch(const SessionPtr& session, const v1::MatchResponse& response, size_t keys,
                      MatchResult* out) {
  if (response.matched_blocks() > keys ||
      response.blocks_size() != static_cast<int>(response.matched_blocks())) {
    return absl::InternalError("match: the daemon's answer does not fit the keys");
  }
  out->matched_blocks += response.matched_blocks();
  out->matched_tokens += response.matched_tokens();
  for (const v1::BlockInfo& block : response.blocks()) out->blocks.push_back(InfoOf(block));
  if (!response.lease_id().empty())
    out->lease = LeaseGuard(session, response.lease_id(), response.lease_ms());
  for (const v1::WindowMembership& window : response.windows()) {
    if (window.present_size() != static_cast<int>(keys)) {
      return absl::InternalError("match: the daemon's answer does not fit the keys");
    }
    auto it = std::find_if(out->windows.begin(), out->windows.end(),
                           [&](const MatchResult::Window& w) { return w.group == window.group(); });
    if (it == out->windows.end()) it = out->windows.insert(it, {.group = window.group()});
    it->present.insert(it->present.end(), window.present().begin(), window.present().end());
  }
  return absl::OkStatus();
}

}  // namespace

Deadline LookupDeadline(NamespaceSession& session, uint32_t deadline_ms) {
  return session.core().DeadlineOf(deadline_ms, session.core().options().deadlines.lookup_ms);
}

absl::StatusOr<MatchResult> MatchKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                      const MatchOptions& options, const Deadline& deadline) {
  const size_t step = KeysPerCall(*session, keys.size());
  if (options.lease && keys.size() > step) {
    return absl::InvalidArgumentError(
        absl::StrCat("match: ", keys.size(), " keys with one lease; the daemon takes ", step, " at a time"));
  }
  MatchResult result;
  for (size_t begin = 0; begin < keys.size(); begin += step) {
    const auto some = keys.subspan(begin, std::min(step, keys.size() - begin));
    v1::MatchRequest request;
    v1::MatchResponse response;
    AddKeys(some, options.cache_salt, &request);
    request.set_lease(options.lease);
    request.set_lease_ms(options.lease_ms);
    request.set_prefetch(options.prefetch);
    if (options.max_error.has_value()) request.set_max_error(*options.max_error);
    for (uint32_t group : options.window_groups) request.add_window_groups(group);
    // A lost answer may leave a lease behind; its TTL ends it.
    if (auto s = CallUnary(session, &v1::KvCache::Stub::Match, "match", Repeat::kContention, deadline,
                           options.cancel, &request, &response);
        !s.ok()) {
      return s;
    }
    if (auto s = AddMatch(session, response, some.size(), &result); !s.ok()) return s;
    // Windows are asked about every key; the prefix is over where it is over.
    if (response.matched_blocks() < some.size() && options.window_groups.empty()) break;
    if (response.matched_blocks() < some.size() && begin + step < keys.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("match: window groups of more than ", step, " keys in one call"));
    }
  }
  return result;
}

absl::StatusOr<std::vector<bool>> KeysExist(const SessionPtr& session, std::span<const BlockKey> keys,
                                            const KeyOptions& options) {
  return CallForKeys<v1::ExistsRequest, v1::ExistsResponse, bool>(
      session, keys, options, &v1::KvCache::Stub::Exists, "exists",
      [&options](v1::ExistsRequest* request) {
        if (options.shard.has_value()) *request->mutable_shard() = ToProto(*options.shard);
      },
      [](const v1::ExistsResponse& response, std::vector<bool>* out) {
        out->insert(out->end(), response.exists().begin(), response.exists().end());
      });
}

absl::StatusOr<std::vector<bool>> DeleteKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                             const KeyOptions& options) {
  return CallForKeys<v1::DeleteRequest, v1::DeleteResponse, bool>(
      session, keys, options, &v1::KvCache::Stub::Delete, "delete", nullptr,
      [](const v1::DeleteResponse& response, std::vector<bool>* out) {
        out->insert(out->end(), response.deleted().begin(), response.deleted().end());
      });
}

absl::StatusOr<std::vector<BlockOutcome>> PrefetchKeys(const SessionPtr& session,
                                                       std::span<const BlockKey> keys,
                                                       const KeyOptions& options) {
  return CallForKeys<v1::PrefetchRequest, v1::PrefetchResponse, BlockOutcome>(
      session, keys, options, &v1::KvCache::Stub::Prefetch, "prefetch",
      [&options](v1::PrefetchRequest* request) { request->set_tier(options.tier); },
      [](const v1::PrefetchResponse& response, std::vector<BlockOutcome>* out) {
        for (const auto& status : response.blocks()) out->push_back(OutcomeOf(status));
      });
}

absl::StatusOr<LeaseResult> LeaseKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                      const KeyOptions& options) {
  v1::LeaseRequest request;
  v1::LeaseResponse response;
  AddKeys(keys, options.cache_salt, &request);
  request.set_ttl_ms(options.ttl_ms);
  if (auto s = CallUnary(session, &v1::KvCache::Stub::Lease, "lease", Repeat::kTransport,
                         LookupDeadline(*session, options.deadline_ms), options.cancel, &request, &response);
      !s.ok()) {
    return s;
  }
  LeaseResult result;
  if (!response.lease_id().empty())
    result.lease = LeaseGuard(session, response.lease_id(), response.ttl_ms());
  if (response.blocks_size() != static_cast<int>(keys.size())) {
    return absl::InternalError("lease: the daemon answered for another number of keys");
  }
  for (const auto& status : response.blocks()) result.blocks.push_back(OutcomeOf(status));
  return result;
}

absl::StatusOr<std::vector<BlockOutcome>> PinKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                                  const KeyOptions& options) {
  return CallForKeys<v1::PinRequest, v1::PinResponse, BlockOutcome>(
      session, keys, options, &v1::KvCache::Stub::Pin, "pin",
      [&options](v1::PinRequest* request) { request->set_ttl_ms(options.ttl_ms); },
      [](const v1::PinResponse& response, std::vector<BlockOutcome>* out) {
        for (const auto& status : response.blocks()) out->push_back(OutcomeOf(status));
      });
}

absl::StatusOr<std::vector<bool>> UnpinKeys(const SessionPtr& session, std::span<const BlockKey> keys,
                                            const KeyOptions& options) {
  return CallForKeys<v1::UnpinRequest, v1::UnpinResponse, bool>(
      session, keys, options, &v1::KvCache::Stub::Unpin, "unpin", nullptr,
      [](const v1::UnpinResponse& response, std::vector<bool>* out) {
        out->insert(out->end(), response.unpinned().begin(), response.unpinned().end());
      });
}

}  // namespace kvcompd::client
