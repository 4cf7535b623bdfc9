// NamespaceState: what the daemon said of a namespace. Plain values.
#ifndef KVCOMPD_CLIENT_NAMESPACE_STATE_H_
#define KVCOMPD_CLIENT_NAMESPACE_STATE_H_

#include <cstdint>
#include <string>

#include "codec/base/types.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::client {

// As of the last time it was opened or refreshed.
struct NamespaceState {
  std::string id;  // 16 bytes
  Fingerprint fingerprint;
  uint64_t epoch = 0;    // of the store; another one means that the daemon restarted
  uint64_t opens = 0;    // times it was opened, the first included
  bool created = false;  // the first time
  v1::NamespacePolicy policy;
  v1::Limits limits;
  std::string codebook_set;  // id of the set that new blocks are encoded with; empty: the built-in one
};

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_NAMESPACE_STATE_H_
