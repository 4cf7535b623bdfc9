// PutResultOf: what the daemon says of a block that was put, as the client's callers get it. Internal.
//
//   result.last = PutResultOf(response.last());
#ifndef KVCOMPD_CLIENT_PUT_RESULT_H_
#define KVCOMPD_CLIENT_PUT_RESULT_H_

#include "client/block_types.h"
#include "proto/kvcompd/v1/kvcache.pb.h"

namespace kvcompd::client {

PutResult PutResultOf(const v1::PutResult& message);
// Of a block that is not wanted.
PutResult PutResultOf(const v1::PutDisposition& message);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_PUT_RESULT_H_
