# SPDX-License-Identifier: Apache-2.0
# Acceptance against the number formats of target and drafter: rows of study `formats` in
# results/mtp.csv (golden/study_mtp.py).
#   gnuplot -e "out='F.svg'" notebooks_data/plots/mtp_formats.gp
if (!exists("out")) out = 'mtp_formats.svg'
if (!exists("table")) table = 'notebooks_data/results/mtp.csv'
set terminal svg size 900,560 font 'sans,14' background rgb 'white' enhanced
set output out
set datafile separator ','
formats = 'bf16 q8\_0 q4\_0 q4\_k q2\_k'
plain = 'bf16 q8_0 q4_0 q4_k q2_k'
row(name) = strcol(3) eq 'formats' && strcol(4) eq name && strcol(5) eq 'all' && \
            strcol(7) eq 'acceptance' && strcol(8) eq ''
name(s, k) = (s == 1 ? word(plain, k) . '/bf16' : s == 2 ? 'bf16/' . word(plain, k) : \
              word(plain, k) . '/' . word(plain, k))
set title 'Drafts accepted, all positions of rounds of 4 (greedy, 95 %)'
set xlabel 'format of the quantized one; the other is BF16'
set ylabel 'accepted'
set yrange [0:1.04]
set xrange [0.5:5.5]
set ytics 0.1
set xtics ()
do for [k=1:5] { set xtics add (word(formats, k) k) }
set grid ytics lc rgb '#dddddd'
set key bottom left Left reverse samplen 2
colour(s) = word("#1b6ca8 #e08e1b #d1495b", s)
label(s) = word("'target alone' 'drafter alone' 'both'", s)
plot for [s=1:3] for [k=1:5] table using \
    (row(name(s, k)) ? k + 0.12 * (s - 2) : NaN):11:12:13 with yerrorbars lc rgb colour(s) \
    pt (4 + s) ps 0.8 lw 1.6 title (k == 1 ? label(s) : '')
