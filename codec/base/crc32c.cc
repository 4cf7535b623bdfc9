#include "codec/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>

namespace kvcompd {
namespace {

// Polynomials over GF(2) modulo the Castagnoli polynomial, in the CRC's own bit order: the most significant
// bit is the coefficient of x^0, and multiplying by x shifts right.
constexpr uint32_t kPolynomial = 0x82f63b78;
constexpr uint32_t kXToThe8 = 1u << (31 - 8);

constexpr uint32_t MultiplyByX(uint32_t a) { return (a >> 1) ^ ((a & 1) ? kPolynomial : 0); }

constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = MultiplyByX(b);
  }
  return product;
}

// [k] = x^(8 * 2^k): what 2^k more bytes multiply a CRC by.
constexpr std::array<uint32_t, 64> MakePowers() {
  std::array<uint32_t, 64> powers{};
  powers[0] = kXToThe8;
  for (size_t k = 1; k < powers.size(); ++k) powers[k] = Multiply(powers[k - 1], powers[k - 1]);
  return powers;
}
constexpr std::array<uint32_t, 64> kPowers = MakePowers();

}  // namespace

uint32_t ExtendCrc32c(uint32_t crc, ByteSpan data) {
  constexpr size_t kMaxChunkBytes = size_t{1} << 30;  // ISA-L takes an int
  // ISA-L neither inverts its initial value nor its result.
  crc = ~crc;
  while (!data.empty()) {
    const ByteSpan chunk = data.first(std::min(data.size(), kMaxChunkBytes));
    // The pointer is not const in ISA-L's C interface, but the bytes are only read.
    auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(chunk.data()));
    crc = crc32_iscsi(bytes, static_cast<int>(chunk.size()), crc);
    data = data.subspan(chunk.size());
  }
  return ~crc;
}

// The inversions at start and end cancel out, so that crc(AB) = crc(A) * x^(8 |B|) + crc(B).
uint32_t CombineCrc32c(uint32_t crc_a, uint32_t crc_b, uint64_t len_b) {
  for (size_t k = 0; len_b != 0; ++k, len_b >>= 1) {
    if (len_b & 1) crc_a = Multiply(kPowers[k], crc_a);
  }
  return crc_a ^ crc_b;
}

}  // namespace kvcompd
