public import CHeapShims
public import Synchronization

@frozen @usableFromInline package struct MarkBit {
  @usableFromInline package let word: UInt
  @usableFromInline package let number: UInt
  @inlinable @inline(__always)
  package init(of reference: UInt) {
    let page = PageIndex(holding: reference)
    let entry = unsafe PageEntry(
      bits: ArenaTables.of(reference).entry(page.inArena).pointee.load(ordering: .relaxed))
    let sizeClass = entry.sizeClass
    guard sizeClass != 0 else {
      require(!entry.isFree, "no span")
      word = UInt(bitPattern: unsafe entry.span.marks)
      number = 0
      return
    }
    let first = PageIndex(page.number &- entry.pageInSpan)
    let offset = reference &- first.address
    let slot = (offset &* UInt(heap_reciprocal(UInt8(truncatingIfNeeded: sizeClass)))) >> 32
    let bits = ArenaTables.of(first.address).slotBits(ArenaTables.Layout.marks, first.inArena)
    word = bits &+ (slot >> 6) &* 8
    number = slot & 63
  }
}

@frozen @usableFromInline package struct PageWord {
  @usableFromInline package let entry: PageEntry
  @inlinable @inline(__always)
  package init(of reference: UInt) {
    entry = unsafe PageEntry(
      bits: ArenaTables.of(reference).entry(PageIndex(holding: reference).inArena).pointee
        .load(ordering: .relaxed))
  }
  @inlinable package var isFree: Bool { entry.isFree }
  @inlinable package var isNoscan: Bool { entry.isNoscan }
  @inlinable package var sizeClass: UInt8 { UInt8(truncatingIfNeeded: entry.sizeClass) }
  @inlinable package var layout: HeapLayout { entry.span.layout }
}

extension HeapSpan {
  @inlinable package init(holding reference: UInt) {
    self = PageWord(of: reference).entry.span
  }
}
