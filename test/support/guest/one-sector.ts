/**
 * A guest that is one sector: it boots in a tenth of a second wherever QEMU runs, lets go of disks when it is asked to, and turns itself off when its
 * button is pressed. Each time it has booted, and not before, it hears of either and says `g` on its console. Enough for everything in which the host is
 * the subject.
 */
const sectorBytes = 512;

/** 16-bit code at 0x7c00, for the chip set of QEMU's `pc`: power management at port 0x600, hot-plugged slots at 0xae00. */
const code = [
  'fb', //            sti
  'ba0206', //        mov dx, 0x602       the button is wanted
  'b80001', //        mov ax, 0x100
  'ef', //            out dx, ax
  'baf803', //        mov dx, 0x3f8       now it hears: its console says g
  'b067', //          mov al, 'g'
  'ee', //            out dx, al
  'f4', //      loop: hlt                 until the clock ticks, 18 times a second
  'ba04ae', //        mov dx, 0xae04      slots that are asked to be let go
  '66ed', //          in eax, dx
  '6685c0', //        test eax, eax
  '7405', //          jz button
  'ba08ae', //        mov dx, 0xae08      let go of the first
  '66ef', //          out dx, eax
  'ba0006', // button: mov dx, 0x600
  'ed', //            in ax, dx
  'f6c401', //        test ah, 1          was it pressed?
  '74e7', //          jz loop
  'ba0406', //        mov dx, 0x604       power off
  'b80020', //        mov ax, 0x2000
  'ef', //            out dx, ax
  'ebde', //          jmp loop
].join('');

/** The first sector of the disk that it is booted from. */
export function oneSectorGuest(): Buffer {
  const sector = Buffer.alloc(sectorBytes);
  sector.write(code, 'hex');
  sector.writeUInt16LE(0xaa55, sectorBytes - 2);
  return sector;
}
