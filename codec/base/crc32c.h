// CRC32C (Castagnoli), by ISA-L. Crc32c("123456789") == 0xe3069283. Pure functions.
#ifndef KVCOMPD_CODEC_BASE_CRC32C_H_
#define KVCOMPD_CODEC_BASE_CRC32C_H_

#include <cstdint>

#include "codec/base/types.h"

namespace kvcompd {

// CRC of what came before followed by `data`; `crc` is 0 at the start.
uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data);
inline uint32_t Crc32c(ByteSpan data) { return ExtendCrc32c(0, data); }

// CRC of A followed by B from the CRCs of both and B's length, in O(log(len_b)).
uint32_t CombineCrc32c(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

}  // namespace kvcompd

#endif  // KVCOMPD_CODEC_BASE_CRC32C_H_
