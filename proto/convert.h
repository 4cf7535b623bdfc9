// The one place that turns messages of kvcompd.v1 into domain types and back. Pure functions.
//
//   auto model = ModelFromProto(request.model());     // INVALID_ARGUMENT names the field
//   *reply.mutable_generation() = ToProto(generation);
#ifndef KVCOMPD_PROTO_CONVERT_H_
#define KVCOMPD_PROTO_CONVERT_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/base/model_descriptor.h"
#include "codec/base/types.h"
#include "google/protobuf/repeated_field.h"
#include "proto/kvcompd/v1/types.pb.h"

namespace kvcompd {

// Protocol version and feature bits of this build.
inline constexpr uint32_t kProtocolMajor = 1;
inline constexpr uint32_t kProtocolMinor = 0;
constexpr uint64_t FeatureBit(v1::Feature f) { return uint64_t{1} << (static_cast<int>(f) - 1); }

// Validated: a descriptor that converts is one that Validate() accepts.
absl::StatusOr<ModelDescriptor> ModelFromProto(const v1::ModelDescriptor& message);
v1::ModelDescriptor ToProto(const ModelDescriptor& model);

ShardRange FromProto(const v1::Shard& message);
v1::Shard ToProto(const ShardRange& shard);

Generation FromProto(const v1::Generation& message);
v1::Generation ToProto(const Generation& generation);

v1::TensorKind ToProto(Tensor tensor);
absl::StatusOr<Tensor> FromProto(v1::TensorKind kind);

// As stored: checked for length, and the salt mixed in. INVALID_ARGUMENT names the index of a bad key.
inline constexpr size_t kMaxSaltBytes = 256;
absl::StatusOr<BlockKey> KeyFromProto(std::string_view key, std::string_view cache_salt);
absl::StatusOr<std::vector<BlockKey>> KeysFromProto(
    const google::protobuf::RepeatedPtrField<std::string>& keys, std::string_view cache_salt);

// What a Hello of the other end means for this one: UNIMPLEMENTED for another major version or a required
// feature that is not in `features`. Text says what either side has.
absl::Status CheckHello(const v1::Hello& other, uint64_t features);
v1::Hello MakeHello(std::string_view software, uint64_t features, uint64_t required_features);

}  // namespace kvcompd

#endif  // KVCOMPD_PROTO_CONVERT_H_
