#include "tests/server/service/service_samples.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "codec/base/byte_io.h"
#include "codec/base/chain_hash.h"
#include "codec/base/crc32c.h"
#include "codec/base/profile.h"
#include "codec/container.h"
#include "codec/segment.h"

namespace kvcompd::server {
namespace {

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

uint32_t Mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

uint16_t ValueOf(int block, uint32_t layer, Tensor tensor, uint32_t head, uint32_t token, uint32_t channel) {
  if (block >= kFirstNanBlock) return 0x7fc1;
  const uint32_t place = ((layer * 2 + static_cast<uint32_t>(tensor)) * 64 + head) * 4096 + token;
  const uint32_t random = Mix(Mix(static_cast<uint32_t>(block) * 0x9e3779b9U + place) + channel);
  const float noise = static_cast<float>(static_cast<int32_t>(random)) / 2147483648.0f;
  const float value = noise + static_cast<float>(channel % 5) - 2;
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

double ValueAt(const std::string& x, size_t i) {
  uint16_t bits;
  std::memcpy(&bits, x.data() + 2 * i, 2);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

void FillChunk(v1::PutRequest* request, const std::string& bytes, uint64_t offset, uint64_t piece_bytes,
               const v1::PutChunk& base) {
  const std::string piece = bytes.substr(offset, piece_bytes);
  v1::PutChunk* chunk = request->add_chunks();
  *chunk = base;
  chunk->set_offset(offset);
  chunk->set_bytes(piece.size());
  chunk->set_total_bytes(bytes.size());
  chunk->set_crc32c(Crc32c(AsBytes(piece)));
  request->set_data(piece);
}

void AddPieces(const std::string& bytes, uint64_t piece_bytes, const v1::PutChunk& base,
               std::vector<v1::PutRequest>* out) {
  for (uint64_t offset = 0; offset < bytes.size(); offset += piece_bytes) {
    FillChunk(&out->emplace_back(), bytes, offset, piece_bytes, base);
  }
}

}  // namespace

ModelDescriptor ServiceModel() {
  ModelDescriptor model;
  model.model_id = "test/service";
  model.weights_version = "1";
  AttentionGroup group;
  group.layers = {2, 3, 5, 7};
  group.kv_heads = kHeads;
  group.head_dim_k = 16;
  group.head_dim_v = 8;
  model.groups = {group};
  model.tokens_per_block = kTokens;
  return model;
}

ShardRange WholeShard() { return {0, 0, kHeads, 0, kLayers}; }

std::string KeyOf(int block) { return std::string(Sha256("block " + std::to_string(block)).view()); }

std::string PutIdOf(int number) {
  return std::string(Sha256("put " + std::to_string(number)).view().substr(0, 16));
}

std::string ExpectedValues(int block, const ShardRange& shard, uint32_t layer, Tensor tensor, uint32_t tokens,
                           uint32_t first_token) {
  const uint32_t channels = ServiceModel().groups[0].head_dim(tensor);
  std::string out;
  ByteWriter w(&out);
  for (uint32_t h = 0; h < shard.head_count; ++h) {
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t c = 0; c < channels; ++c) {
        w.U16(ValueOf(block, layer, tensor, shard.head_begin + h, first_token + t, c));
      }
    }
  }
  return out;
}

std::string EncodeBlock(int block, const ShardRange& shard, const std::string& profile,
                        const Fingerprint& fingerprint, const std::string& salt, uint32_t tokens) {
  const AttentionGroup group = ServiceModel().groups[0];
  codec::EncodeParams params;
  params.profile = *Profile::Parse(profile);
  codec::BlockHeader header;
  header.fingerprint = fingerprint;
  header.key = SaltedKey(*BlockKey::FromBytes(KeyOf(block)), salt);
  header.shard = shard;
  header.tokens = tokens;
  header.dtype = group.dtype;
  header.head_dim_k = group.head_dim_k;
  header.head_dim_v = group.head_dim_v;
  for (uint32_t i = 0; i < shard.layer_count; ++i)
    header.layers.push_back(group.layers[shard.layer_begin + i]);
  header.profile = params.profile.Text();
  header.error_bound = static_cast<float>(params.profile.ErrorBound());
  codec::ContainerWriter writer(header);
  codec::Workspace ws;
  const codec::Codec& codec = *codec::FindCodec(params.profile.codec);
  for (uint32_t i = 0; i < shard.layer_count; ++i) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      const std::string values = ExpectedValues(block, shard, shard.layer_begin + i, tensor, tokens);
      const codec::SegmentShape shape = header.segment_shape(tensor);
      std::string segment(codec::SegmentBound(shape, codec), '\0');
      auto bytes = codec::EncodeSegment(codec, header.place(i, tensor), shape, AsBytes(values), params, &ws,
                                        std::as_writable_bytes(std::span(segment)), nullptr);
      if (!bytes.ok()) Die(bytes.status());
      segment.resize(*bytes);
      if (auto status = writer.AddSegment(AsBytes(segment)); !status.ok()) Die(status);
    }
  }
  codec::QualityRecord quality;
  quality.raw_bytes = header.raw_bytes();
  auto container = std::move(writer).Finish(quality);
  if (!container.ok()) Die(container.status());
  return *std::move(container);
}

double MaxDifference(const std::string& x, const std::string& y) {
  if (x.size() != y.size()) return HUGE_VAL;
  double max = 0;
  for (size_t i = 0; i < x.size() / 2; ++i) max = std::max(max, std::abs(ValueAt(x, i) - ValueAt(y, i)));
  return max;
}

double RangeOf(const std::string& x) {
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  for (size_t i = 0; i < x.size() / 2; ++i) {
    low = std::min(low, ValueAt(x, i));
    high = std::max(high, ValueAt(x, i));
  }
  return high - low;
}

v1::PutRequest HeaderOf(const PutSpec& spec) {
  v1::PutRequest request;
  v1::PutHeader* header = request.mutable_header();
  header->set_namespace_id(spec.ns);
  header->set_put_id(PutIdOf(spec.put_id));
  header->mutable_shard()->set_group(spec.shard.group);
  header->mutable_shard()->set_head_begin(spec.shard.head_begin);
  header->mutable_shard()->set_head_count(spec.shard.head_count);
  header->mutable_shard()->set_layer_begin(spec.shard.layer_begin);
  header->mutable_shard()->set_layer_count(spec.shard.layer_count);
  header->set_form(spec.encoded ? v1::FORM_ENCODED : v1::FORM_DECODED);
  if (spec.encoded) header->set_profile(spec.profile);
  header->set_cache_salt(spec.salt);
  for (int block : spec.blocks) {
    v1::PutBlock* b = header->add_blocks();
    b->set_key(KeyOf(block));
    b->set_tokens(spec.tokens);
  }
  return request;
}

std::vector<v1::PutRequest> PiecesOf(const PutSpec& spec, uint32_t index) {
  const int block = spec.blocks[index];
  if (spec.encoded) {
    return PiecesOfContainer(
        EncodeBlock(block, spec.shard, spec.profile, spec.fingerprint, spec.salt, spec.tokens), index,
        spec.piece_bytes);
  }
  std::vector<v1::PutRequest> out;
  for (uint32_t i = 0; i < spec.shard.layer_count; ++i) {
    for (Tensor tensor : {Tensor::kK, Tensor::kV}) {
      v1::PutChunk base;
      base.set_block(index);
      base.set_layer(spec.shard.layer_begin + i);
      base.set_tensor(static_cast<v1::TensorKind>(tensor));
      AddPieces(ExpectedValues(block, spec.shard, spec.shard.layer_begin + i, tensor, spec.tokens),
                spec.piece_bytes, base, &out);
    }
  }
  return out;
}

std::vector<v1::PutRequest> PiecesOfContainer(const std::string& container, uint32_t index,
                                              uint64_t piece_bytes) {
  auto view = codec::ContainerView::Parse(AsBytes(container));
  if (!view.ok()) Die(view.status());
  const codec::BlockHeader& header = view->header();
  std::vector<v1::PutRequest> out;
  v1::PutChunk base;
  base.set_block(index);
  base.set_container_part(v1::CONTAINER_HEADER);
  AddPieces(std::string(AsChars(view->header_bytes())), piece_bytes, base, &out);
  base.set_container_part(v1::CONTAINER_SEGMENT);
  for (uint32_t s = 0; s < header.num_segments(); ++s) {
    const uint32_t per_layer = header.head_dim_v != 0 ? 2 : 1;
    base.set_layer(header.shard.layer_begin + s / per_layer);
    base.set_tensor(s % per_layer == 0 ? v1::TENSOR_K : v1::TENSOR_V);
    AddPieces(std::string(AsChars(view->SegmentBytes(s))), piece_bytes, base, &out);
  }
  base.clear_layer();
  base.clear_tensor();
  base.set_container_part(v1::CONTAINER_FOOTER);
  AddPieces(std::string(AsChars(view->footer_bytes())), piece_bytes, base, &out);
  return out;
}

v1::PutRequest CommitOf(const std::vector<uint32_t>& blocks) {
  v1::PutRequest request;
  request.mutable_commit();
  for (uint32_t block : blocks) request.mutable_commit()->add_blocks(block);
  return request;
}

v1::GetRequest GetOf(const std::string& ns, const std::vector<int>& blocks, const ShardRange& shard,
                     v1::Form form) {
  v1::GetRequest request;
  request.set_namespace_id(ns);
  for (int block : blocks) request.add_blocks()->set_key(KeyOf(block));
  request.mutable_shard()->set_group(shard.group);
  request.mutable_shard()->set_head_begin(shard.head_begin);
  request.mutable_shard()->set_head_count(shard.head_count);
  request.mutable_shard()->set_layer_begin(shard.layer_begin);
  request.mutable_shard()->set_layer_count(shard.layer_count);
  request.set_form(form);
  return request;
}

}  // namespace kvcompd::server
