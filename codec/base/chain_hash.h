// The kvcompd chain hash: block keys from token ids, the same in every process and language.
//
//   BlockKey parent;                        // empty: the chain's root
//   for (auto tokens : blocks) keys.push_back(parent = ChainHash(parent, tokens, extra_keys));
//
// Byte layout and test vectors: codec/FORMAT.md, "Block keys". Pure functions.
#ifndef KVCOMPD_CODEC_BASE_CHAIN_HASH_H_
#define KVCOMPD_CODEC_BASE_CHAIN_HASH_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/base/types.h"

namespace kvcompd {

// SHA-256 over (domain tag, parent key or root, token ids as u32 little-endian, length-prefixed extra keys).
// extra_keys: adapter id and version, content hashes of images; order matters.
BlockKey ChainHash(const BlockKey& parent, std::span<const uint32_t> token_ids,
                   std::span<const std::string> extra_keys = {});

// Keys of all full blocks of a text, and of the shorter last one where include_tail is set.
std::vector<BlockKey> ChainKeys(std::span<const uint32_t> token_ids, uint32_t tokens_per_block,
                                std::span<const std::string> extra_keys = {}, bool include_tail = false);

// The key that the store uses: the key itself for an empty salt, else SHA-256(domain tag, salt, key). Clients
// that send ENCODED blocks need it too, because checksums are seeded with it.
BlockKey SaltedKey(const BlockKey& key, std::string_view cache_salt);

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_CHAIN_HASH_H_
