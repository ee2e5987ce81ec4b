# SPDX-License-Identifier: Apache-2.0
# KL to the float32 reference of each tensor rounded by itself: layer against kind of tensor.
# Full layers have no attn_v: their keys are their values.
#   gnuplot -e "out='F.svg'; type='q3_k'" notebooks_data/plots/sensitivity_heat.gp
if (!exists("out")) out = 'sensitivity_heat.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/calibrate_points.csv'
if (!exists("type")) type = 'q3_k'
set terminal svg size 900,520 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
kinds = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down"
place(what) = (sum [i=1:7] (substr(what, strlen(what) - strlen(word(kinds, i)), \
              strlen(what)) eq '.'.word(kinds, i) ? i : 0))
mine(z) = strcol(1) eq 'tensor' && strcol(3) eq 'weights' && strcol(4) eq 'in' && \
         strcol(5) eq type && strcol(9) eq 'all' && strcol(6) ne ''
set title 'KL of one tensor in '.type.', the others as they are (log10 of nats a token)'
set xlabel 'layer'
set xtics 1
set ytics ()
do for [i=1:7] { set ytics add (word(kinds, i) i) }
set yrange [7.5:0.5]
set offsets 0.6, 0.6, 0, 0
set format cb '%.1f'
set palette defined (0 '#f4f6fa', 0.5 '#e08e1b', 1 '#7a1420')
set cblabel 'log10 KL'
plot table using (mine(0) ? $6 : NaN):(mine(0) ? place(strcol(2)) : NaN): \
     (mine(0) ? log10($12) : NaN) with points pt 5 ps 5 palette notitle
