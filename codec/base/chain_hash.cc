#include "codec/base/chain_hash.h"

#include <algorithm>

#include "codec/base/byte_io.h"

namespace kvcompd {
namespace {

using std::string_view_literals::operator""sv;

// The closing NUL is part of the tag.
constexpr std::string_view kBlockTag = "kvcompd.block.v1\0"sv;
constexpr std::string_view kSaltTag = "kvcompd.salt.v1\0"sv;

}  // namespace

BlockKey ChainHash(const BlockKey& parent, std::span<const uint32_t> token_ids,
                   std::span<const std::string> extra_keys) {
  std::string text;
  text.reserve(kBlockTag.size() + 1 + parent.size() + 4 + 4 * token_ids.size() + 4);
  ByteWriter w(&text);
  w.Bytes(kBlockTag);
  w.U8(static_cast<uint8_t>(parent.size()));
  w.Bytes(parent.view());
  w.U32(static_cast<uint32_t>(token_ids.size()));
  for (uint32_t id : token_ids) w.U32(id);
  w.U32(static_cast<uint32_t>(extra_keys.size()));
  for (const std::string& extra : extra_keys) {
    w.U32(static_cast<uint32_t>(extra.size()));
    w.Bytes(extra);
  }
  return BlockKey::FromDigest(Sha256(text));
}

std::vector<BlockKey> ChainKeys(std::span<const uint32_t> token_ids, uint32_t tokens_per_block,
                                std::span<const std::string> extra_keys, bool include_tail) {
  std::vector<BlockKey> keys;
  if (tokens_per_block == 0) return keys;
  keys.reserve(token_ids.size() / tokens_per_block + 1);
  BlockKey parent;
  while (!token_ids.empty()) {
    const size_t n = std::min<size_t>(tokens_per_block, token_ids.size());
    if (n < tokens_per_block && !include_tail) break;
    parent = ChainHash(parent, token_ids.first(n), extra_keys);
    keys.push_back(parent);
    token_ids = token_ids.subspan(n);
  }
  return keys;
}

BlockKey SaltedKey(const BlockKey& key, std::string_view cache_salt) {
  if (cache_salt.empty()) return key;
  std::string text;
  ByteWriter w(&text);
  w.Bytes(kSaltTag);
  w.U32(static_cast<uint32_t>(cache_salt.size()));
  w.Bytes(cache_salt);
  w.U8(static_cast<uint8_t>(key.size()));
  w.Bytes(key.view());
  return BlockKey::FromDigest(Sha256(text));
}

}  // namespace kvcompd
