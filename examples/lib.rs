//! The examples of Conveyor: see the folder `examples` beside this file.
